package simulator

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
)

// TLS has a listener speak TLS, with the certificate and key of PEM files. With an
// authority it takes only clients that have a certificate of it.
func TLS(ln net.Listener, cert, key, authority string) (net.Listener, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New(authority + ": no certificate in PEM is in it")
		}
	}
	return tls.NewListener(ln, cfg), nil
}
