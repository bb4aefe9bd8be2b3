// The locks of Go's modules, for run.py, which says what the orders and answers are. A goroutine for each caller.
// A new peer is one more function, and one more line in `peers`. Usage: peer NAME URL
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"
)

const ttl = 30 * time.Second // as every peer's

var forever = context.Background()

// acquire waits until it has the key, and returns what gives it up.
type acquire func(key string) (release func() error, err error)

type peer struct {
	modules []string // whose versions count
	open    func(url string) (acquire, error)
}

var peers = map[string]peer{
	"redsync":     {[]string{"github.com/go-redsync/redsync/v4", "github.com/redis/go-redis/v9"}, openRedsync},
	"redislock":   {[]string{"github.com/bsm/redislock", "github.com/redis/go-redis/v9"}, openRedislock},
	"rueidislock": {[]string{"github.com/redis/rueidis"}, openRueidislock},
}

func openRedsync(url string) (acquire, error) {
	var nodes []redsyncredis.Pool
	for _, address := range strings.Split(strings.TrimPrefix(url, "redis://"), ",") {
		nodes = append(nodes, goredis.NewPool(redis.NewClient(&redis.Options{Addr: address})))
	}
	locks := redsync.New(nodes...)
	return func(key string) (func() error, error) {
		// Its default gives up after 32 tries; the pauses between them are as by default.
		mutex := locks.NewMutex(key, redsync.WithExpiry(ttl), redsync.WithTries(1<<30))
		if err := mutex.Lock(); err != nil {
			return nil, err
		}
		return func() error {
			_, err := mutex.Unlock()
			return err
		}, nil
	}, nil
}

func openRedislock(url string) (acquire, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	locks := redislock.New(redis.NewClient(options))
	// It has no default; this is what its documentation begins with.
	waiting := &redislock.Options{RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond)}
	return func(key string) (func() error, error) {
		lock, err := locks.Obtain(forever, key, ttl, waiting)
		if err != nil {
			return nil, err
		}
		return func() error { return lock.Release(forever) }, nil
	}, nil
}

func openRueidislock(url string) (acquire, error) {
	options, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	// One server, and what its documentation says for servers from 7.0.5 on. By default an attempt is given up after 20 ms,
	// after which nothing wakes the caller: on a loaded machine it stood still for ever.
	locker, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: options, KeyMajority: 1, NoLoopTracking: true, KeyValidity: ttl, TryNextAfter: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	return func(key string) (func() error, error) {
		_, cancel, err := locker.WithContext(forever, key)
		return func() error { cancel(); return nil }, err
	}, nil
}

func versions(modules []string) string {
	info, _ := debug.ReadBuildInfo()
	var found []string
	for _, name := range modules {
		for _, module := range info.Deps {
			if module.Path == name {
				found = append(found, strings.TrimPrefix(name, "github.com/")+" "+module.Version)
			}
		}
	}
	return strings.Join(found, ", ")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

func (take acquire) pair(key string) {
	release := must(take(key))
	if err := release(); err != nil {
		fail(err)
	}
}

func microseconds(duration time.Duration) float64 {
	return float64(duration) / float64(time.Microsecond)
}

func (take acquire) pairs(seconds time.Duration) map[string]float64 {
	var took []float64
	for end := time.Now().Add(seconds); time.Now().Before(end); {
		begin := time.Now()
		take.pair("pairs")
		took = append(took, microseconds(time.Since(begin)))
	}
	sort.Float64s(took)
	return map[string]float64{"median_us": took[len(took)/2], "p99_us": took[len(took)*99/100]}
}

func (take acquire) callers(count int, seconds time.Duration) map[string]float64 {
	var all sync.WaitGroup
	var pairs atomic.Int64
	begin := time.Now()
	for i := range count {
		all.Go(func() {
			for time.Since(begin) < seconds {
				take.pair(fmt.Sprintf("callers-%d", i))
				pairs.Add(1)
			}
		})
	}
	all.Wait()
	return map[string]float64{"per_second": float64(pairs.Load()) / time.Since(begin).Seconds()}
}

// Both processes of a hand-over read the same clock.
func now() map[string]float64 {
	return map[string]float64{"at_us": float64(time.Now().UnixNano()) / 1e3}
}

func main() {
	if len(os.Args) != 3 || peers[os.Args[1]].open == nil {
		fail(fmt.Errorf("usage: peer NAME URL"))
	}
	chosen := peers[os.Args[1]]
	take := must(chosen.open(os.Args[2]))
	answers := json.NewEncoder(os.Stdout)
	answers.Encode(map[string]string{"version": versions(chosen.modules), "runtime": "Go " + runtime.Version()[2:]})
	seconds := func(word string) time.Duration {
		return time.Duration(must(strconv.ParseFloat(word, 64)) * float64(time.Second))
	}
	var release func() error
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		answer := map[string]float64{}
		switch words[0] {
		case "pairs":
			answer = take.pairs(seconds(words[1]))
		case "callers":
			answer = take.callers(must(strconv.Atoi(words[1])), seconds(words[2]))
		case "acquire":
			release = must(take(words[1]))
			answer = now()
		case "release":
			answer = now()
			if err := release(); err != nil {
				fail(err)
			}
		case "waiters":
			for range must(strconv.Atoi(words[1])) {
				go take(words[2])
			}
		default:
			fail(fmt.Errorf("peer: %q is not an order", words[0]))
		}
		answers.Encode(answer)
	}
}
