// Measures asynq: asynq-bench PORT rate JOBS | latency RATE SECONDS. 32 goroutines enqueue one at a time, which is
// all that asynq offers; one server works at a concurrency of 100. Results are kept, keys are task ids. Prints a
// line of JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(at int) int {
	n, err := strconv.Atoi(os.Args[at])
	must(err)
	return n
}

func send(client *asynq.Client, id string, payload []byte) {
	_, err := client.Enqueue(asynq.NewTask("empty", payload), asynq.TaskID(id), asynq.Retention(24*time.Hour))
	must(err)
}

func main() {
	redis := asynq.RedisClientOpt{Addr: "127.0.0.1:" + os.Args[1], PoolSize: 200}
	client := asynq.NewClient(redis)
	start := time.Now()
	var mutex sync.Mutex
	var done atomic.Int64
	var waits []float64
	server := asynq.NewServer(redis, asynq.Config{Concurrency: 100, LogLevel: asynq.ErrorLevel})
	must(server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		if payload := task.Payload(); len(payload) > 0 {
			sent, err := strconv.ParseInt(string(payload), 10, 64)
			must(err)
			wait := float64(time.Since(start).Microseconds()-sent) / 1000
			mutex.Lock()
			waits = append(waits, wait)
			mutex.Unlock()
		}
		_, err := task.ResultWriter().Write([]byte("true"))
		done.Add(1)
		return err
	})))
	answer := map[string]any{}
	var senders sync.WaitGroup
	switch os.Args[2] {
	case "rate":
		jobs := int64(number(3))
		start = time.Now()
		var next atomic.Int64
		for range 32 {
			senders.Go(func() {
				for id := next.Add(1); id <= jobs; id = next.Add(1) {
					send(client, fmt.Sprint("k-", id), nil)
				}
			})
		}
		inspector := asynq.NewInspector(redis)
		for {
			time.Sleep(5 * time.Millisecond)
			if done.Load() < jobs {
				continue
			}
			info, err := inspector.GetQueueInfo("default")
			must(err)
			if int64(info.Completed) >= jobs {
				break
			}
		}
		seconds := time.Since(start).Seconds()
		answer["jobs"], answer["seconds"], answer["jobs_per_second"] = jobs, seconds, float64(jobs)/seconds
	case "latency":
		rate, seconds := number(3), number(4)
		all := rate * seconds
		time.Sleep(time.Second) // the server starts in the background
		start = time.Now()
		for sent := 0; sent < all; time.Sleep(time.Millisecond) {
			due := min(all, int(time.Since(start).Seconds()*float64(rate)))
			for ; sent < due; sent++ {
				id := "l-" + strconv.Itoa(sent)
				senders.Go(func() { send(client, id, strconv.AppendInt(nil, time.Since(start).Microseconds(), 10)) })
			}
		}
		senders.Wait()
		for done.Load() < int64(all) {
			time.Sleep(5 * time.Millisecond)
		}
		mutex.Lock()
		slices.Sort(waits)
		at := func(share float64) float64 { return waits[min(len(waits)-1, int(share*float64(len(waits))))] }
		answer["jobs_per_second"], answer["p50_ms"], answer["p99_ms"], answer["max_ms"] = rate, at(.5), at(.99), at(1)
		mutex.Unlock()
	}
	senders.Wait()
	line, err := json.Marshal(answer)
	must(err)
	fmt.Println(string(line))
	os.Exit(0)
}
