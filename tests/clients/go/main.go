// Command client fetches records from a provider's node and verifies them, as a program of the requester's own would. It
// signs with the requester's keys, speaks to the provider's node, and shares no code with Kiteline.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	exchange "client/pb/exchange"
)

func main() {
	own := flag.String("own", "", "our own admission.json")
	keys := flag.String("keys", "", "our node's keys directory; KITELINE_PASSPHRASE_FILE names the file with its passphrase")
	provider := flag.String("provider", "", "the provider's admission.json")
	dataset := flag.String("dataset", "", "the dataset's name at its provider")
	keyColumn := flag.Int("key-column", 0, "place of the dataset's key field in a record, from 0")
	grant := flag.String("grant", "", "a grant under which nothing was ordered yet, 64 hexadecimal digits")
	root := flag.String("root", "", "the dataset's root as the chain has it, 64 hexadecimal digits")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	passphrase := bytes.TrimSuffix(must(os.ReadFile(os.Getenv("KITELINE_PASSPHRASE_FILE"))), []byte("\n"))
	session := &Session{own: readMember(*own), provider: readMember(*provider), grant: *grant, keyColumn: *keyColumn, previous: noDigest}
	// 14 bytes of the digest, then the provider's id.
	session.dataset = hexDigest([]byte(session.provider.ID + "\n" + *dataset))[:28] + hex.EncodeToString([]byte(session.provider.ID))
	session.signing = readKey(*keys, "signing-1.pem", passphrase).(*sm2.PrivateKey)
	session.encryption = readKey(*keys, "encryption-1.pem", passphrase).(*sm2.PrivateKey)
	session.node = exchange.NewPeerServiceClient(dial(session.own, readKey(*keys, "tls-1.key.pem", passphrase), session.provider))

	records := []Found{}
	for _, key := range flag.Args() {
		found := session.query(ctx, key)
		hold("root", found.Root == *root, "the provider's version is not the one on the chain")
		records = append(records, found)
	}
	// The last receipt has no query to ride on.
	must(session.node.SubmitReceipts(ctx, &exchange.SubmitReceiptsRequest{ReceiptNotes: session.due}))
	end(0, map[string]any{"records": records})
}

// hold ends the program unless a check holds.
func hold(check string, holds bool, otherwise string) {
	if !holds {
		end(4, map[string]any{"check": check, "error": otherwise})
	}
}

// must gives a value, or ends the program: with the reason, if a node refused, and else with the error.
func must[T any](value T, err error) T {
	if err == nil {
		return value
	}
	for _, detail := range status.Convert(err).Details() {
		if info, isInfo := detail.(*errdetails.ErrorInfo); isInfo && info.Domain == "kiteline" {
			end(1, map[string]any{"reason": info.Reason, "error": err.Error()})
		}
	}
	end(3, map[string]any{"error": err.Error()})
	return value
}

// end prints one JSON document and exits.
func end(code int, document any) {
	_ = json.NewEncoder(os.Stdout).Encode(document)
	os.Exit(code)
}
