package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
)

// syncedTime bounds the wait for the answers of all servers.
const syncedTime = 5 * time.Second

// errLazy is what to do about a server that acknowledges before it has synced.
const errLazy = "set `sync_interval: always` in its jetstream block and restart it, a power failure loses decisions otherwise"

// serverAnswer is what a server says of itself to the system account
// ($SYS.REQ.SERVER.PING.JSZ).
type serverAnswer struct {
	Server struct {
		Name    string `json:"name"`
		Cluster string `json:"cluster"`
		Version string `json:"ver"`
	} `json:"server"`
	Data struct {
		Disabled bool `json:"disabled"`
		Config   struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
		Meta *struct {
			Leader   string `json:"leader"`
			Replicas []struct {
				Name    string `json:"name"`
				Offline bool   `json:"offline"`
			} `json:"replicas"`
		} `json:"meta_cluster"`
	} `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

// checkSynced makes sure that every server which holds the stream, or could come
// to hold it, syncs before it acknowledges (rule A1). peers are the names of the
// servers that must answer. A server that is down cannot be asked, and must not
// keep a coordinator from starting when it is needed most.
func checkSynced(ctx context.Context, app *nats.Conn, cfg *ServiceConfig, peers []string) error {
	if cfg.AssumeSyncAlways {
		return nil
	}
	if cfg.SystemURL == "" && len(cfg.System) == 0 {
		return errors.New("cannot see whether the NATS servers sync before they acknowledge: " +
			"give ServiceConfig.System (or SystemURL) access to the system account, " +
			"or make sure of `sync_interval: always` on every server and set ServiceConfig.AssumeSyncAlways")
	}
	url := cfg.SystemURL
	if url == "" {
		url = cfg.URL
	}
	nc, err := dial(url, cfg.Logger, cfg.System...)
	if err != nil {
		return fmt.Errorf("connect to system account: %w: %w", gtx.ErrUnavailable, err)
	}
	defer nc.Close()
	missing := map[string]bool{app.ConnectedServerName(): true}
	for _, p := range peers {
		missing[p] = true
	}
	ctx, cancel := context.WithTimeout(ctx, syncedTime)
	defer cancel()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err == nil {
		err = nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", inbox, nil)
	}
	if err != nil {
		return fmt.Errorf("ask servers whether they sync: %w", err)
	}
	answered := map[string]bool{}
	for len(missing) > 0 {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return errors.New("ask servers whether they sync: ServiceConfig.System is not a user of the system account")
		}
		if err != nil {
			return fmt.Errorf("ask servers whether they sync: no answer of %s: %w", nameList(missing), err)
		}
		var a serverAnswer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return fmt.Errorf("ask servers whether they sync: %w", err)
		}
		if err := a.check(); err != nil {
			return err
		}
		answered[a.Server.Name] = true
		if meta := a.Data.Meta; meta != nil && a.Server.Name == meta.Leader { // it knows the others
			for _, r := range meta.Replicas {
				if !r.Offline {
					missing[r.Name] = true
				}
			}
		}
		for name := range answered {
			delete(missing, name)
		}
	}
	return nil
}

func (a *serverAnswer) check() error {
	switch {
	case a.Error != nil:
		return fmt.Errorf("ask server %s whether it syncs: %s", a.Server.Name, a.Error.Description)
	case a.Data.Disabled: // it holds no stream
		return nil
	case !atLeast(a.Server.Version, minServer):
		return fmt.Errorf("NATS server %s has version %s, older than %s: update it", a.Server.Name, a.Server.Version, minServer)
	case !a.Data.Config.SyncAlways:
		return fmt.Errorf("NATS server %s acknowledges before it has synced: %s", a.Server.Name, errLazy)
	}
	return nil
}

func nameList(set map[string]bool) string {
	var all []string
	for n := range set {
		all = append(all, n)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
