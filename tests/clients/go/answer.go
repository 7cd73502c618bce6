package main

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"
	"google.golang.org/protobuf/proto"

	exchange "client/pb/exchange"
)

// unseal unwraps the answer's key with SM2 and opens the answer with it. Both are bound to the digest of the order note.
func unseal(response *exchange.QueryResponse, key *sm2.PrivateKey, boundTo []byte) *exchange.Answer {
	wrapped, sealed := response.WrappedSecret, response.SealedAnswer
	hold("wrapped key", len(wrapped) > 3 && wrapped[0] == 1, "it is of an unknown format")
	stop := 3 + int(binary.BigEndian.Uint16(wrapped[1:3]))
	hold("wrapped key", stop < len(wrapped), "it is cut short")
	wrappingKey, err := sm2.Decrypt(key, wrapped[3:stop])
	hold("wrapped key", err == nil, "it does not open under our SM2 key")
	answerKey := openGCM("wrapped key", wrappingKey, wrapped[stop:], boundTo)
	hold("sealed answer", len(sealed) > 0 && sealed[0] == 1, "it is of an unknown format")
	answer := &exchange.Answer{}
	must(0, proto.Unmarshal(openGCM("sealed answer", answerKey, sealed[1:], boundTo), answer))
	return answer
}

// openGCM opens nonce ‖ SM4-GCM ciphertext ‖ tag.
func openGCM(what string, key, sealed, boundTo []byte) []byte {
	gcm := must(cipher.NewGCM(must(sm4.NewCipher(key))))
	hold(what, len(sealed) > gcm.NonceSize(), "it is cut short")
	plaintext, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], boundTo)
	hold(what, err == nil, "SM4-GCM's tag is wrong: it was altered, or is for another order")
	return plaintext
}

// prove leads from the record to its leaf, and from there to the root of the version that the provider signed, which it gives.
func prove(answer *exchange.Answer, index uint64, versionNote []byte, provider Member, dataset string) (size uint64, root []byte) {
	version := openNote("version", versionNote, provider)
	hold("version", len(version) == 4 && version[0] == "kiteline/"+provider.ID+"/dataset/"+dataset+"/SM3", "it is not one of this dataset")
	size, root = must(strconv.ParseUint(version[1], 10, 64)), must(base64.StdEncoding.Strict().DecodeString(version[2]))
	leaf := digest([]byte{0}, answer.Salt, answer.Record)
	hold("leaf", len(answer.Salt) == 16 && bytes.Equal(leaf, answer.LeafHash), "the record is not the one of the leaf")
	hold("inclusion", index < size && answer.Proof.GetIndex() == index && answer.Proof.GetSize() == size, "the proof is for another record or version")
	hold("inclusion", isIncluded(leaf, index, size, answer.Proof.GetPath(), root), "the path does not lead from the leaf to the version's root")
	return size, root
}

// keyOf gives a record's value in a column, an integer in decimal.
func keyOf(record []byte, column int) string {
	var values []any
	decoder := json.NewDecoder(bytes.NewReader(record))
	decoder.UseNumber()
	hold("record", decoder.Decode(&values) == nil && column < len(values), "it is no array with a key")
	return fmt.Sprint(values[column])
}

// isIncluded verifies an inclusion proof (RFC 9162, section 2.1.3.2) with SM3, of an index below the size.
func isIncluded(leaf []byte, index, size uint64, path [][]byte, root []byte) bool {
	hash, last := leaf, size-1
	for _, sibling := range path {
		if last == 0 {
			return false
		}
		if index&1 == 1 || index == last {
			hash = digest([]byte{1}, sibling, hash)
			for index&1 == 0 && index != 0 {
				index, last = index>>1, last>>1
			}
		} else {
			hash = digest([]byte{1}, hash, sibling)
		}
		index, last = index>>1, last>>1
	}
	return last == 0 && bytes.Equal(hash, root)
}
