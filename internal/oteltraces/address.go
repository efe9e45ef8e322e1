package oteltraces

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Credential is who asks, and for which database.
type Credential struct{ User, Password, Database string }

// Address says where ClickHouse is and who asks. What is "" is taken from the
// URL, which may hold all of it, then from Fallback, then ClickHouse's defaults.
type Address struct {
	// URL is clickhouse://HOST:9000 (native) or http://HOST:8123, each with TLS as
	// clickhouses:// and https://.
	URL string
	Credential
	Fallback Credential
}

// schemes are those of a URL: the driver's own, and the port where there is none.
var schemes = map[string]struct {
	driver, port string
	secure       bool
}{
	"clickhouse":  {"clickhouse", "9000", false},
	"tcp":         {"clickhouse", "9000", false},
	"clickhouses": {"clickhouse", "9440", true},
	"http":        {"http", "8123", false},
	"https":       {"https", "8443", true},
}

const (
	defaultUser     = "default"
	defaultDatabase = "default"
	dialTimeout     = 5 * time.Second
)

// server is where to ask, and as what it is named in messages: without a
// password.
type server struct {
	options  *clickhouse.Options
	name     string
	database string
}

// server checks the address. Its errors never show a password.
func (a Address) server() (*server, error) {
	u, err := url.Parse(a.URL)
	if err != nil {
		return nil, errors.New("the address of ClickHouse is no URL: write clickhouse://HOST:9000 or http://HOST:8123")
	}
	scheme, ok := schemes[u.Scheme]
	if !ok || u.Hostname() == "" {
		return nil, fmt.Errorf("the address of ClickHouse, %s, has to be clickhouse://HOST:9000 (native) or http://HOST:8123; clickhouses:// and https:// are those with TLS", u.Redacted())
	}
	query := u.Query()
	if scheme.secure || query.Get("secure") == "true" {
		query.Set("secure", "true")
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), scheme.port)
	}
	password, _ := u.User.Password()
	dsn := url.URL{Scheme: scheme.driver, Host: host, RawQuery: query.Encode()}
	o, err := clickhouse.ParseDSN(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("the address of ClickHouse, %s://%s: %w", u.Scheme, host, err)
	}
	database := cmp.Or(a.Database, strings.Trim(u.Path, "/"), a.Fallback.Database, defaultDatabase)
	// The database may not be there yet: what is asked names it.
	o.Auth = clickhouse.Auth{
		Database: defaultDatabase, Username: cmp.Or(a.User, u.User.Username(), a.Fallback.User, defaultUser),
		Password: cmp.Or(a.Password, password, a.Fallback.Password),
	}
	o.DialTimeout, o.MaxOpenConns = dialTimeout, 1
	return &server{options: o, name: u.Scheme + "://" + host, database: database}, nil
}
