// Measures Tessera's POSIX driver as the log of this project is measured, and prints one JSON object.
//
// An entry counts as acknowledged when its future resolves, which in this driver means that it is written with O_SYNC or fsync and
// integrated into the tree (storage/posix/files.go, Add). What follows, the publication of a signed checkpoint, is measured apart.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	origin             = "kiteline.bench/tessera"
	checkpointInterval = 100 * time.Millisecond // the shortest that the driver takes
	pollInterval       = time.Millisecond
	outstanding        = 65_536
)

var (
	directory = flag.String("directory", "", "where the log is or is to be")
	entrySize = flag.Int("bytes", 256, "of an entry")
	batchSize = flag.Uint("batch", 8192, "entries of a batch at most")
	batchAge  = flag.Duration("age", 2*time.Millisecond, "of a batch at most")
)

func main() {
	var err error
	work := map[string]func(context.Context, []string) (any, error){
		"append": appendEntries, "acknowledge": acknowledge, "publish": publish, "open": open, "prove": prove, "check": check,
	}
	flag.Parse()
	result := any(nil)
	if do := work[flag.Arg(0)]; do == nil {
		err = fmt.Errorf("the work is one of append, acknowledge, publish, open, prove, check")
	} else {
		result, err = do(context.Background(), flag.Args()[1:])
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A log that is open.
type opened struct {
	appender *tessera.Appender
	reader   tessera.LogReader
	close    func(context.Context) error
	verifier note.Verifier
}

func openLog(ctx context.Context) (*opened, error) {
	signer, verifier, err := keys()
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(*directory, "log")})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithBatching(*batchSize, *batchAge).
		WithCheckpointInterval(checkpointInterval).
		WithPushback(outstanding).
		WithGarbageCollectionInterval(time.Second)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	return &opened{appender, reader, shutdown, verifier}, nil
}

// The log's own keys, made with it.
func keys() (note.Signer, note.Verifier, error) {
	path := filepath.Join(*directory, "keys")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, public, failed := note.GenerateKey(rand.Reader, origin)
		if failed != nil {
			return nil, nil, failed
		}
		text = []byte(secret + "\n" + public)
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return nil, nil, err
	}
	secret, public, _ := strings.Cut(string(text), "\n")
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := note.NewVerifier(public)
	return signer, verifier, err
}

func entry() *tessera.Entry {
	data := make([]byte, *entrySize)
	if _, err := rand.Read(data); err != nil {
		panic(err)
	}
	return tessera.NewEntry(data)
}

// append COUNT: hand in entries as fast as they are taken, and wait for the last.
func appendEntries(ctx context.Context, arguments []string) (any, error) {
	count, err := number(arguments, 0)
	if err != nil {
		return nil, err
	}
	log, err := openLog(ctx)
	if err != nil {
		return nil, err
	}
	waiting := make(chan tessera.IndexFuture, outstanding/2)
	failed := make(chan error, 1)
	begun := time.Now()
	go func() {
		var first error
		for future := range waiting {
			if _, err := future(); err != nil && first == nil {
				first = err
			}
		}
		failed <- first
	}()
	for range count {
		waiting <- log.appender.Add(ctx, entry())
	}
	close(waiting)
	if err := <-failed; err != nil {
		return nil, err
	}
	seconds := time.Since(begun).Seconds()
	if err := log.close(ctx); err != nil {
		return nil, err
	}
	size, allocated, err := diskUse()
	return map[string]any{"seconds": seconds, "entries": count, "bytes": size, "allocated": allocated, "peak_bytes": peak()}, err
}

// acknowledge CALLERS EACH: callers who hand in one entry after the other, each when the one before is durable and in the tree.
func acknowledge(ctx context.Context, arguments []string) (any, error) {
	return callers(ctx, arguments, func(log *opened) func(*tessera.Entry) error {
		return func(one *tessera.Entry) error {
			_, err := log.appender.Add(ctx, one)()
			return err
		}
	})
}

// publish CALLERS EACH: likewise, each when the one before is under a published checkpoint.
func publish(ctx context.Context, arguments []string) (any, error) {
	return callers(ctx, arguments, func(log *opened) func(*tessera.Entry) error {
		awaiter := tessera.NewPublicationAwaiter(ctx, log.reader.ReadCheckpoint, pollInterval)
		return func(one *tessera.Entry) error {
			_, _, err := awaiter.Await(ctx, log.appender.Add(ctx, one))
			return err
		}
	})
}

func callers(ctx context.Context, arguments []string, with func(*opened) func(*tessera.Entry) error) (any, error) {
	count, err := number(arguments, 0)
	if err != nil {
		return nil, err
	}
	each, err := number(arguments, 1)
	if err != nil {
		return nil, err
	}
	log, err := openLog(ctx)
	if err != nil {
		return nil, err
	}
	call := with(log)
	seconds := make([]float64, count*each)
	var failed error
	var once sync.Once
	var group sync.WaitGroup
	begun := time.Now()
	for caller := range count {
		group.Add(1)
		go func() {
			defer group.Done()
			for turn := range each {
				one := entry()
				start := time.Now()
				if err := call(one); err != nil {
					once.Do(func() { failed = err })
					return
				}
				seconds[caller*each+turn] = time.Since(start).Seconds()
			}
		}()
	}
	group.Wait()
	total := time.Since(begun).Seconds()
	if failed != nil {
		return nil, failed
	}
	// The first call of each caller finds nobody before it, and the log as it was opened.
	var warm []float64
	for caller := range count {
		warm = append(warm, seconds[caller*each+1:(caller+1)*each]...)
	}
	sort.Float64s(warm)
	result := map[string]any{"seconds": total, "entries": count * each, "p50": at(warm, 0.50), "p99": at(warm, 0.99)}
	return result, log.close(ctx)
}

// open: how long it takes until the size is known.
func open(ctx context.Context, _ []string) (any, error) {
	begun := time.Now()
	log, err := openLog(ctx)
	if err != nil {
		return nil, err
	}
	size, err := log.reader.IntegratedSize(ctx)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(begun).Seconds()
	return map[string]any{"seconds": seconds, "entries": size, "peak_bytes": peak()}, log.close(ctx)
}

// prove COUNT ROUNDS: inclusion paths of leaves all over the log, after a round that is not counted.
func prove(ctx context.Context, arguments []string) (any, error) {
	count, err := number(arguments, 0)
	if err != nil {
		return nil, err
	}
	rounds, err := number(arguments, 1)
	if err != nil {
		return nil, err
	}
	log, err := openLog(ctx)
	if err != nil {
		return nil, err
	}
	size, err := log.reader.IntegratedSize(ctx)
	if err != nil {
		return nil, err
	}
	builder, err := client.NewProofBuilder(ctx, size, log.reader.ReadTile)
	if err != nil {
		return nil, err
	}
	var seconds []float64
	for round := range rounds + 1 {
		for turn := range uint64(count) {
			index := turn * 2_654_435_761 % size
			start := time.Now()
			if _, err := builder.InclusionProof(ctx, index); err != nil {
				return nil, err
			}
			if round > 0 {
				seconds = append(seconds, time.Since(start).Seconds())
			}
		}
	}
	sort.Float64s(seconds)
	return map[string]any{"p50": at(seconds, 0.50), "p99": at(seconds, 0.99), "peak_bytes": peak()}, log.close(ctx)
}

// check: re-hash everything with Tessera's own fsck.
func check(ctx context.Context, _ []string) (any, error) {
	log, err := openLog(ctx)
	if err != nil {
		return nil, err
	}
	size, err := log.reader.IntegratedSize(ctx)
	if err != nil {
		return nil, err
	}
	hashes := func(bundle []byte) ([][]byte, error) {
		entries := &api.EntryBundle{}
		if err := entries.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		leaves := make([][]byte, 0, len(entries.Entries))
		for _, one := range entries.Entries {
			leaves = append(leaves, rfc6962.DefaultHasher.HashLeaf(one))
		}
		return leaves, nil
	}
	begun := time.Now()
	checker := fsck.New(origin, log.verifier, log.reader, hashes, fsck.Opts{N: uint(runtime.NumCPU())})
	if err := checker.Check(ctx); err != nil {
		return nil, err
	}
	return map[string]any{"seconds": time.Since(begun).Seconds(), "entries": size}, log.close(ctx)
}

func number(arguments []string, place int) (int, error) {
	if place >= len(arguments) {
		return 0, fmt.Errorf("argument %d is missing", place+1)
	}
	return strconv.Atoi(arguments[place])
}

func at(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// diskUse gives the bytes of the log's files, and those of the blocks that they take.
func diskUse() (size, allocated int64, err error) {
	err = filepath.WalkDir(filepath.Join(*directory, "log"), func(_ string, item fs.DirEntry, failed error) error {
		if failed != nil {
			return failed
		}
		info, failed := item.Info()
		if failed != nil {
			return failed
		}
		if !item.IsDir() {
			size += info.Size()
		}
		allocated += info.Sys().(*syscall.Stat_t).Blocks * 512
		return nil
	})
	return size, allocated, err
}

// peak gives the most memory that this process held resident at once.
func peak() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes * 1024
		}
	}
	return 0
}
