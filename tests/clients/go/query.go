package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm2"

	exchange "client/pb/exchange"
)

// Session is what one run works with. It holds the end of the grant's chain of receipts, so the grant must be a fresh one.
type Session struct {
	own, provider       Member
	signing, encryption *sm2.PrivateKey
	grant, dataset      string // hexadecimal
	keyColumn           int    // place of the key field in a record, from 0
	node                exchange.PeerServiceClient
	sequence            uint64
	due                 [][]byte // the receipt that is to be handed in, if there is one
	previous            string   // its digest
}

// Found is a record that was proven, and the version that it is in.
type Found struct {
	Record   json.RawMessage `json:"record"`
	Index    uint64          `json:"index"`
	Sequence uint64          `json:"sequence"`
	Size     uint64          `json:"version_size"`
	Root     string          `json:"version_root"`
}

// query orders one record, checks and opens the answer, and signs its receipt, which rides on the next query.
func (s *Session) query(ctx context.Context, key string) Found {
	orderID, salt := random(16), random(16)
	order := signStatement("order", s.own.ID, s.signing, "order "+hex.EncodeToString(orderID), "grant "+s.grant,
		"dataset "+s.dataset, "requester "+s.own.ID, "provider "+s.provider.ID, "kind query", "range -",
		"key-digest "+hexDigest(salt, []byte(key)), "time "+now())
	response := must(s.node.Query(ctx, &exchange.QueryRequest{OrderNote: order, Key: key, KeySalt: salt, ReceiptNotes: s.due}))
	s.sequence++
	index := s.checkDelivery(response, hex.EncodeToString(orderID))
	answer := unseal(response, s.encryption, digest(order))
	size, root := prove(answer, index, response.VersionNote, s.provider, s.dataset)
	hold("key", keyOf(answer.Record, s.keyColumn) == key, "the record is proven, and another than was asked for")
	receipt := signStatement("receipt", s.own.ID, s.signing, "grant "+s.grant, "order "+hex.EncodeToString(orderID),
		"sequence "+strconv.FormatUint(s.sequence, 10), "delivery "+hexDigest(response.DeliveryNote),
		"segments-digest "+noDigest, "previous "+s.previous, "requester "+s.own.ID, "time "+now())
	s.due, s.previous = [][]byte{receipt}, hexDigest(receipt)
	return Found{answer.Record, index, s.sequence, size, hex.EncodeToString(root)}
}

// checkDelivery holds each line of the delivery note against our order and against what came; it gives the record's index.
func (s *Session) checkDelivery(response *exchange.QueryResponse, orderID string) uint64 {
	lines := openNote("delivery", response.DeliveryNote, s.provider)
	wanted := []string{"kiteline/delivery/v1", "grant " + s.grant, "order " + orderID, "sequence " + strconv.FormatUint(s.sequence, 10),
		"kind query", "dataset " + s.dataset, "version " + hexDigest(response.VersionNote), "range ", "segments 0",
		"segments-digest " + noDigest, "answer-digest " + hexDigest(response.SealedAnswer),
		"wrapped-digest " + hexDigest(response.WrappedSecret), "provider " + s.provider.ID, "requester " + s.own.ID, "time "}
	hold("delivery", len(lines) == len(wanted), "it is no delivery note")
	for at, line := range wanted {
		isOpen := strings.HasSuffix(line, " ") // the provider says what comes here
		hold("delivery", lines[at] == line || isOpen && strings.HasPrefix(lines[at], line), "it states "+lines[at]+" where "+line+" is true")
	}
	first, stop, _ := strings.Cut(strings.TrimPrefix(lines[7], "range "), "-")
	index := must(strconv.ParseUint(first, 10, 64))
	hold("delivery", stop == strconv.FormatUint(index+1, 10), "its range is not one record")
	return index
}

func random(size int) []byte {
	value := make([]byte, size)
	must(rand.Read(value))
	return value
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }
