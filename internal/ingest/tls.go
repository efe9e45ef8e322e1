package ingest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles name a server's certificate and key in PEM, and, for mutual TLS, the
// certificates of the authority that signs its clients'.
type TLSFiles struct{ Cert, Key, ClientCA string }

// reloadEvery is how often the files are looked at: a renewed certificate is
// served from then on, without a restart.
const reloadEvery = 10 * time.Second

// Config reads the files and returns a configuration that reads them again when
// they change. A change that cannot be read leaves the old ones in force and is
// told to failed.
func (f TLSFiles) Config(now func() time.Time, failed func(error)) (*tls.Config, error) {
	l := &tlsLoader{files: f, now: now, failed: failed}
	if err := l.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.fresh(), nil },
	}, nil
}

type tlsLoader struct {
	files   TLSFiles
	now     func() time.Time
	failed  func(error)
	mu      sync.Mutex
	config  *tls.Config
	stamp   string // of the files that config was read from
	checked time.Time
}

func (l *tlsLoader) fresh() *tls.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now().Sub(l.checked) < reloadEvery {
		return l.config
	}
	l.checked = l.now()
	if l.files.stamp() != l.stamp {
		if err := l.load(); err != nil {
			l.failed(err)
		}
	}
	return l.config
}

// stamp changes when a file does.
func (f TLSFiles) stamp() (s string) {
	for _, name := range []string{f.Cert, f.Key, f.ClientCA} {
		if info, err := os.Stat(name); err == nil {
			s += fmt.Sprintf("%d/%d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return s
}

func (l *tlsLoader) load() error {
	stamp := l.files.stamp()
	pair, err := tls.LoadX509KeyPair(l.files.Cert, l.files.Key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", l.files.Cert, l.files.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{pair}}
	if l.files.ClientCA != "" {
		if c.ClientCAs, err = readPool(l.files.ClientCA); err != nil {
			return err
		}
		// Given, not required: a bearer token is a credential too.
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	l.config, l.stamp, l.checked = c, stamp, l.now()
	return nil
}

func readPool(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, errors.New("client CA: " + name + " holds no certificate in PEM")
	}
	return pool, nil
}
