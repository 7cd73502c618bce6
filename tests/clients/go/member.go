package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"

	"github.com/emmansun/gmsm/pkcs8"
	"github.com/emmansun/gmsm/sm2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Member is the public side of a member: its admission.json.
type Member struct {
	ID          string `json:"member_id"`
	SigningKey  string `json:"signing_key"`
	Certificate string `json:"certificate"`
	Endpoint    string `json:"endpoint"`

	key         *ecdsa.PublicKey
	certificate *x509.Certificate
}

func readMember(path string) (member Member) {
	must(0, json.Unmarshal(must(os.ReadFile(path)), &member))
	point := must(hex.DecodeString(member.SigningKey))
	hold("public key", len(point) == 65 && point[0] == 4, path+" has no uncompressed point")
	member.key = &ecdsa.PublicKey{Curve: sm2.P256(), X: new(big.Int).SetBytes(point[1:33]), Y: new(big.Int).SetBytes(point[33:])}
	hold("public key", member.key.Curve.IsOnCurve(member.key.X, member.key.Y), path+" has a point that is not on the SM2 curve")
	member.certificate = must(x509.ParseCertificate(must(hex.DecodeString(member.Certificate))))
	return member
}

// readKey opens a key file of the node: PKCS#8, encrypted under the operator's passphrase.
func readKey(directory, name string, passphrase []byte) any {
	block, _ := pem.Decode(must(os.ReadFile(filepath.Join(directory, name))))
	hold("key file", block != nil, name+" is not PEM")
	return must(pkcs8.ParsePKCS8PrivateKey(block.Bytes, passphrase))
}

// dial connects to a member's node. Each side shows the certificate that it was admitted with and accepts nothing else.
func dial(own Member, tlsKey any, peer Member) *grpc.ClientConn {
	roots := x509.NewCertPool()
	roots.AddCert(peer.certificate)
	configuration := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{own.certificate.Raw}, PrivateKey: tlsKey}},
		RootCAs:      roots,
		ServerName:   peer.certificate.DNSNames[0],
		MinVersion:   tls.VersionTLS13,
	}
	transport := grpc.WithTransportCredentials(credentials.NewTLS(configuration))
	return must(grpc.NewClient("passthrough:///"+peer.Endpoint, transport, grpc.WithNoProxy()))
}
