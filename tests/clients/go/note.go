package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

var userID, noDigest = []byte("1234567812345678"), strings.Repeat("0", 64)

func digest(parts ...[]byte) []byte {
	sum := sm3.Sum(bytes.Join(parts, nil))
	return sum[:]
}

func hexDigest(parts ...[]byte) string { return hex.EncodeToString(digest(parts...)) }

// signStatement writes a statement of this type with these lines, and signs it as a note.
func signStatement(kind, name string, key *sm2.PrivateKey, lines ...string) []byte {
	text := "kiteline/" + kind + "/v1\n" + strings.Join(lines, "\n") + "\n"
	signature := must(key.SignWithSM2(rand.Reader, userID, []byte(text)))
	blob := append(keyID(name, &key.PublicKey), signature...)
	return []byte(text + "\n— " + name + " " + base64.StdEncoding.EncodeToString(blob) + "\n")
}

// openNote gives the lines of a note under which one signature stands: that of `signer`, which must hold.
func openNote(what string, note []byte, signer Member) []string {
	text, signature, _ := strings.Cut(string(note), "\n\n")
	encoded, isNamed := strings.CutPrefix(strings.TrimSuffix(signature, "\n"), "— "+signer.ID+" ")
	blob, err := base64.StdEncoding.Strict().DecodeString(encoded)
	hold(what+" signature", isNamed && err == nil && len(blob) > 4, "the note has not one signature, of "+signer.ID)
	hold(what+" key", bytes.Equal(blob[:4], keyID(signer.ID, signer.key)), "the note is signed under another key than is known of "+signer.ID)
	hold(what+" signature", sm2.VerifyASN1WithSM2(signer.key, userID, []byte(text+"\n"), blob[4:]), "the SM2 signature is wrong")
	return strings.Split(text, "\n")
}

// keyID names a key on a signature line.
func keyID(name string, key *ecdsa.PublicKey) []byte {
	point := make([]byte, 65)
	point[0] = 4
	key.X.FillBytes(point[1:33])
	key.Y.FillBytes(point[33:])
	return digest([]byte(name+"\n\xffSM2-SM3-v1"), point)[:4]
}
