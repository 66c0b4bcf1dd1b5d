// Runs empty workflows on DBOS, from the call that starts one until its result is there.
// Usage: dbos-bench URL SHAPE CONC N; URL is of PostgreSQL, or sqlite:FILE.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite"
)

func noop(x int) func(context.Context) (int, error) {
	return func(context.Context) (int, error) { return x + 1, nil }
}

func Seq(ctx dbos.Context, x int) (int, error) {
	var err error
	for i := 0; i < 3; i++ {
		if x, err = dbos.RunAsStep(ctx, noop(x)); err != nil {
			return 0, err
		}
	}
	return x, nil
}

func Diamond(ctx dbos.Context, x int) (int, error) {
	x, err := dbos.RunAsStep(ctx, noop(x))
	if err != nil {
		return 0, err
	}
	b, err := dbos.Go(ctx, noop(x))
	if err != nil {
		return 0, err
	}
	c, err := dbos.Go(ctx, noop(x))
	if err != nil {
		return 0, err
	}
	y, z := <-b, <-c
	if y.Err != nil {
		return 0, y.Err
	}
	if z.Err != nil {
		return 0, z.Err
	}
	return dbos.RunAsStep(ctx, noop(y.Result+z.Result))
}

func main() {
	url, shape := os.Args[1], os.Args[2]
	conc, _ := strconv.Atoi(os.Args[3])
	n, _ := strconv.Atoi(os.Args[4])
	ctx, err := dbos.NewContext(context.Background(), dbos.Config{AppName: "bench", DatabaseURL: url, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		panic(err)
	}
	dbos.RegisterWorkflow(ctx, Seq)
	dbos.RegisterWorkflow(ctx, Diamond)
	if err := dbos.Launch(ctx); err != nil {
		panic(err)
	}
	fn := map[string]dbos.Workflow[int, int]{"seq": Seq, "diamond": Diamond}[shape]
	run := func(i int) time.Duration {
		from := time.Now()
		h, err := dbos.RunWorkflow(ctx, fn, i)
		if err != nil {
			panic(err)
		}
		if _, err := h.GetResult(); err != nil {
			panic(err)
		}
		return time.Since(from)
	}
	for i := 0; i < 20; i++ {
		run(i)
	}
	took := make([]time.Duration, n)
	next := make(chan int)
	fmt.Println("begin")
	var wg sync.WaitGroup
	from := time.Now()
	for i := 0; i < conc; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				took[i] = run(i)
			}
		}()
	}
	for i := 0; i < n; i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	s := time.Since(from).Seconds()
	fmt.Println("end")
	sort.Slice(took, func(a, b int) bool { return took[a] < took[b] })
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"shape": shape, "conc": conc, "n": n, "wf_s": float64(n) / s, "p50_ms": ms(took[n/2]), "p99_ms": ms(took[n*99/100])})
	dbos.Shutdown(ctx, time.Second)
}
