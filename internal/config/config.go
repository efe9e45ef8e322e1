package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// Config is the effective configuration. Paths are as they can be opened: those
// of the file are relative to the file's directory, and joined with it here.
type Config struct {
	// Data is the data directory; "" leaves it to the command line.
	Data   string `koanf:"data"`
	Listen Listen `koanf:"listen"`
	Ingest Ingest `koanf:"ingest"`
	API    API    `koanf:"api"`
	// SigningKey is the file of the private key that signs checkpoints; "" leaves
	// it to the command line.
	SigningKey  string      `koanf:"signing_key"`
	Engines     []Engine    `koanf:"engines"`
	Attribution Attribution `koanf:"attribution"`
	// Prices is the file of prices; "" is none.
	Prices  string  `koanf:"prices"`
	Invoice Invoice `koanf:"invoice"`
}

// Listen holds addresses, HOST:PORT.
type Listen struct {
	OTLPGRPC string `koanf:"otlp_grpc"`
	OTLPHTTP string `koanf:"otlp_http"`
	API      string `koanf:"api"`
}

// Ingest says how usage is let in.
type Ingest struct {
	// Auth is "", or AuthNone to take usage from anybody also off loopback.
	Auth string `koanf:"auth"`
	// OnBadCredential is OnBadReject or OnBadRetry.
	OnBadCredential string `koanf:"on_bad_credential"`
	// MaxBodyBytes bounds a request, decompressed.
	MaxBodyBytes int64 `koanf:"max_body_bytes"`
	// RequestsPerSecond bounds each producer; 0 is no bound.
	RequestsPerSecond int64 `koanf:"requests_per_second"`
	// Keys are producers whose tokens lie in files.
	Keys []KeyFiles `koanf:"keys"`
	TLS  TLS        `koanf:"tls"`
}

// KeyFiles is a producer by name, and the files any of which may hold its token:
// the current and the previous one.
type KeyFiles struct {
	Name  string   `koanf:"name"`
	Files []string `koanf:"files"`
}

// API says how the API is served. Its TLS has no ClientCA: who asks says so by
// a token.
type API struct {
	// AdminTokenFile holds a token that opens all of the API; "" is none.
	AdminTokenFile string `koanf:"admin_token_file"`
	TLS            TLS    `koanf:"tls"`
}

// TLS names PEM files. Cert and Key are there both or not at all; ClientCA only with them.
type TLS struct {
	Cert     string `koanf:"cert"`
	Key      string `koanf:"key"`
	ClientCA string `koanf:"client_ca"`
}

// Engine is usage.Engine as it is written in the file.
type Engine struct {
	Match map[string]string `koanf:"match"`
	Model string            `koanf:"model"`
	Role  string            `koanf:"role"`
	Beams string            `koanf:"beams"`
}

// Attribution says who pays.
type Attribution struct {
	Order      []string       `koanf:"order"`
	RequestIDs []string       `koanf:"request_id"`
	Resources  []ResourceRule `koanf:"resource"`
}

// ResourceRule is usage.ResourceRule as it is written in the file.
type ResourceRule struct {
	Match    map[string]string `koanf:"match"`
	Customer string            `koanf:"customer"`
	Project  string            `koanf:"project"`
}

// Invoice says how invoices are made where a customer says nothing.
type Invoice struct {
	Currency string        `koanf:"currency"`
	TimeZone string        `koanf:"time_zone"`
	Rounding string        `koanf:"rounding"`
	Grace    time.Duration `koanf:"grace"`
	Issuer   Issuer        `koanf:"issuer"`
	// Note stands below the total.
	Note string `koanf:"note"`
}

// Issuer is who sends the invoices. Both may be "".
type Issuer struct {
	Name string `koanf:"name"`
	// Address may have several lines.
	Address string `koanf:"address"`
}

// Policy is the deciding part, which goes into the journal.
func (c *Config) Policy() usage.Policy {
	p := usage.Policy{Order: c.Attribution.Order, RequestIDs: c.Attribution.RequestIDs}
	for _, e := range c.Engines {
		p.Engines = append(p.Engines, usage.Engine{Match: e.Match, Model: e.Model, Role: e.Role, Beams: e.Beams})
	}
	for _, r := range c.Attribution.Resources {
		p.Resources = append(p.Resources, usage.ResourceRule{Match: r.Match, Customer: r.Customer, Project: r.Project})
	}
	return p
}

// maxConfigBytes bounds what is read of a file that was named by mistake.
const maxConfigBytes = 1 << 20

// Load reads the configuration: the defaults, over them the file at path (none
// with ""), over that the environment, which is of the form of os.Environ. When
// something is wrong the error is Problems, with all of it.
func Load(path string, environ []string) (*Config, *Provenance, error) {
	file := &reader{file: path, places: map[string]place{}, known: names()}
	values := map[string]any{}
	if path != "" {
		values, _ = file.readFile(schema, maxConfigBytes).(map[string]any)
	}
	env := readEnviron(environ)
	l := &loading{path: path, file: file, env: env, problems: slices.Concat(file.problems, env.problems)}
	if len(l.problems) > 0 {
		// References are not followed: what is wrong already may be why they lead nowhere.
		return nil, nil, l.problems.err()
	}
	if err := l.merge(values); err != nil {
		return nil, nil, err
	}
	l.checkReferences()
	if err := l.problems.err(); err != nil {
		return nil, nil, err
	}
	return &l.config, l.provenance(), nil
}

func names() []string {
	var out []string
	for _, k := range Keys() {
		out = append(out, k.Name)
	}
	return out
}

// loading is what Load knows by and by.
type loading struct {
	path     string
	file     *reader
	env      *environment
	merged   *koanf.Koanf
	config   Config
	problems Problems
}

// merge lays the environment over the file over the defaults.
func (l *loading) merge(file map[string]any) error {
	defaults := map[string]any{}
	for _, k := range Keys() {
		if value := k.defaultValue(); value != nil {
			defaults[k.Name] = value
		}
	}
	l.merged = koanf.New(".")
	for _, layer := range []koanf.Provider{confmap.Provider(defaults, "."), confmap.Provider(file, ""), l.env.provider()} {
		if err := l.merged.Load(layer, nil); err != nil {
			return fmt.Errorf("merging the configuration: %w", err)
		}
	}
	if err := l.resolvePaths(); err != nil {
		return err
	}
	if err := l.merged.Unmarshal("", &l.config); err != nil {
		return fmt.Errorf("merging the configuration: %w", err)
	}
	if !l.env.sets("ingest.keys") {
		for _, k := range l.config.Ingest.Keys {
			for i, f := range k.Files {
				k.Files[i] = l.beside(f)
			}
		}
	}
	return nil
}

// beside is a path of the file as it can be opened.
func (l *loading) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(l.path), name)
}

// resolvePaths makes the file's paths relative to the file.
func (l *loading) resolvePaths() error {
	for _, k := range Keys() {
		value := l.merged.String(k.Name)
		if !k.path || value == "" || l.env.sets(k.Name) {
			continue
		}
		if err := l.merged.Set(k.Name, l.beside(value)); err != nil {
			return err
		}
	}
	return nil
}

// checkReferences asks whether keys that belong together fit, and whether what
// they name is there.
func (l *loading) checkReferences() {
	l.checkTLS("ingest.tls", l.config.Ingest.TLS)
	l.checkTLS("api.tls", l.config.API.TLS)
	a := l.config.Attribution
	if len(a.RequestIDs) > 0 && !slices.Contains(a.Order, usage.RuleRequestID) {
		l.bad("attribution.request_id", "the patterns never count: clients can forge request ids, so the rule has to be named in attribution.order, such as [tag, request_id, resource]")
	}
	if f := l.config.Prices; f != "" {
		if info, err := os.Stat(f); err != nil {
			l.bad("prices", "the file cannot be read: %s", err)
		} else if info.IsDir() {
			l.bad("prices", "%s is a directory", f)
		}
	}
	if len(l.problems) > 0 {
		return
	}
	if _, err := l.config.Policy().Compile(); err != nil {
		// The checks of single values find all that Compile finds; this is for the day one is forgotten.
		l.bad("attribution", "%s", err)
	}
}

func (l *loading) checkTLS(key string, t TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		l.bad(key+".cert", "needs %s.key beside it", key)
	case t.Cert == "" && t.Key != "":
		l.bad(key+".key", "needs %s.cert beside it", key)
	case t.ClientCA != "" && t.Cert == "":
		l.bad(key+".client_ca", "needs %s.cert and %s.key beside it", key, key)
	}
}

// bad reports a problem of an effective value, where that came from.
func (l *loading) bad(key, format string, args ...any) {
	p := Problem{Key: key, Text: fmt.Sprintf(format, args...)}
	at, inFile := l.file.places[key]
	switch {
	case l.env.sets(key):
		p.Variable = variable(key)
	case inFile:
		p.File, p.Line, p.Column = l.path, at.line, at.column
	default:
		p.File = l.path
	}
	l.problems = append(l.problems, p)
}
