package cli

import (
	"context"

	"github.com/tollkeeper/tollkeeper/internal/config"
	"github.com/tollkeeper/tollkeeper/internal/keyfile"
	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// credentials are the keys of the files that the configuration names, and those
// of business.db.
type credentials struct {
	*tenant.Live

	files *keyfile.Set
}

// Authenticate finds the key that a token opens, as tenant.Live does.
func (c credentials) Authenticate(ctx context.Context, token string) (tenant.Key, error) {
	if k, ok := c.files.Find(token); ok {
		return k, nil
	}
	return c.Live.Authenticate(ctx, token)
}

// haveProducers tells whether anybody has a credential to send usage with.
func (c credentials) haveProducers() bool { return !c.files.Empty() || c.Directory().HasProducers() }

func (s *server) openKeys(ctx context.Context) (err error) {
	if s.keys.files, err = keyfile.Open(keyFiles(s.config), s.now, s.log); err != nil {
		return usageError{err}
	}
	s.keys.Live, err = tenant.NewLive(ctx, s.business, s.now)
	return err
}

// keyFiles are the keys that the configuration names by their files.
func keyFiles(c *config.Config) (keys []keyfile.Key) {
	for _, k := range c.Ingest.Keys {
		keys = append(keys, keyfile.Key{Name: k.Name, Role: tenant.RoleProducer, Files: k.Files})
	}
	if f := c.API.AdminTokenFile; f != "" {
		keys = append(keys, keyfile.Key{Name: config.AdminTokenName, Role: tenant.RoleAdmin, Files: []string{f}})
	}
	return keys
}
