// Runs empty workflows on Temporal, from the call that starts one until its result is there. The worker and the client
// are this process, the activities are its own.
// Usage: temporal-bench HOST:PORT SHAPE CONC N
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

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	tlog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/types/known/durationpb"
)

func Noop(_ context.Context, x int) (int, error) { return x + 1, nil }

func options(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 30 * time.Second})
}

func Seq(ctx workflow.Context, x int) (int, error) {
	ctx = options(ctx)
	for i := 0; i < 3; i++ {
		if err := workflow.ExecuteActivity(ctx, Noop, x).Get(ctx, &x); err != nil {
			return 0, err
		}
	}
	return x, nil
}

func Diamond(ctx workflow.Context, x int) (int, error) {
	ctx = options(ctx)
	if err := workflow.ExecuteActivity(ctx, Noop, x).Get(ctx, &x); err != nil {
		return 0, err
	}
	b, c := workflow.ExecuteActivity(ctx, Noop, x), workflow.ExecuteActivity(ctx, Noop, x)
	var y, z int
	if err := b.Get(ctx, &y); err != nil {
		return 0, err
	}
	if err := c.Get(ctx, &z); err != nil {
		return 0, err
	}
	err := workflow.ExecuteActivity(ctx, Noop, y+z).Get(ctx, &x)
	return x, err
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	address, shape := os.Args[1], os.Args[2]
	conc, _ := strconv.Atoi(os.Args[3])
	n, _ := strconv.Atoi(os.Args[4])
	ctx := context.Background()
	quiet := tlog.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	c, err := client.Dial(client.Options{HostPort: address, Logger: quiet})
	check(err)
	// It is there from an earlier run, unless the server is new. A new one is known after some seconds.
	c.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace: "default", WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour)})
	w := worker.New(c, "bench", worker.Options{})
	w.RegisterWorkflow(Seq)
	w.RegisterWorkflow(Diamond)
	w.RegisterActivity(Noop)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(time.Second) {
		if err = w.Start(); err == nil {
			break
		}
		if time.Now().After(end) {
			panic(err)
		}
	}
	defer w.Stop()
	fn := map[string]interface{}{"seq": Seq, "diamond": Diamond}[shape]
	run := func(i int) time.Duration {
		from := time.Now()
		h, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: "bench"}, fn, i)
		check(err)
		var x int
		check(h.Get(ctx, &x))
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
}
