//! What samples, and what is made of the samples.

mod cpu;
mod heap;
mod profile;
mod tasks;

use std::time::Duration;

use tokio::runtime;

use crate::{Error, Kind};
use cpu::Sampler;
use profile::{Builder, Unit};

pub(crate) const BUILT_IN: bool = true;

/// The functions that allocate for others, as an expression of RE2.
const ALLOCATOR: &str = ".*mesh_profile::sampling.*|.*alloc::alloc::.*|.*alloc::raw_vec::.*|\
    __rust_.*alloc.*|__rustc::.*|_?backtrace::.*";

/// A profile whose functions have no names yet.
#[derive(Debug)]
pub(crate) enum Raw {
    Cpu(cpu::Samples),
    Heap(Vec<heap::Use>),
    Allocs(Vec<heap::Use>),
    Tasks(Vec<tasks::Spawned>),
}

pub(crate) fn can(kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::Tasks if !tasks::TRACKED => Err(Error::NotBuiltIn(
            "tasks are not counted by this program: `PPROF=1 make build` builds it with \
             --cfg tokio_unstable",
        )),
        _ => Ok(()),
    }
}

pub(crate) async fn sample(kind: Kind, time: Duration) -> Result<Raw, Error> {
    Ok(match kind {
        Kind::Cpu => {
            let sampler = Sampler::start()?;
            tokio::time::sleep(time).await;
            Raw::Cpu(sampler.stop())
        }
        Kind::Heap => Raw::Heap(heap::uses()),
        Kind::Allocs => Raw::Allocs(heap::uses()),
        Kind::Tasks => Raw::Tasks(tasks::spawned()),
    })
}

pub(crate) fn track_tasks(builder: &mut runtime::Builder) {
    tasks::track(builder);
}

impl Raw {
    /// The profile, gzipped.
    pub(crate) fn encode(self) -> Option<Vec<u8>> {
        heap::quietly(|| {
            let encoded = self.named();
            // What was read of the program's own file would stay for good.
            backtrace::clear_symbol_cache();
            encoded
        })
    }

    fn named(self) -> Option<Vec<u8>> {
        match self {
            Self::Cpu(samples) => {
                let units = [Unit("samples", "count"), Unit("cpu", "nanoseconds")];
                let mut builder =
                    Builder::new(&units, Unit("cpu", "nanoseconds"), cpu::PERIOD_NANOS);
                builder.took(samples.took);
                if samples.lost > 0 {
                    builder.comment(&format!("{} samples found no room", samples.lost));
                }
                for (stack, count) in samples.counts() {
                    let period = i64::try_from(cpu::PERIOD_NANOS).unwrap_or(i64::MAX);
                    builder.stack(stack, &[count, count.saturating_mul(period)]);
                }
                builder.encode()
            }
            Self::Heap(uses) => Self::memory(&uses, 1),
            Self::Allocs(uses) => Self::memory(&uses, 0),
            Self::Tasks(spawned) => {
                let units = [Unit("goroutine", "count")];
                let mut builder = Builder::new(&units, Unit("goroutine", "count"), 1);
                for it in spawned {
                    builder.place(it.file, it.line, &[it.running]);
                }
                builder.encode()
            }
        }
    }

    /// Memory as Go tells it, so that its tools know which of the values is asked for.
    fn memory(uses: &[heap::Use], shown: usize) -> Option<Vec<u8>> {
        let units = [
            Unit("alloc_objects", "count"),
            Unit("alloc_space", "bytes"),
            Unit("inuse_objects", "count"),
            Unit("inuse_space", "bytes"),
        ];
        let mut builder = Builder::new(&units, Unit("space", "bytes"), heap::PERIOD_BYTES);
        builder.shows(["alloc_space", "inuse_space"][shown]);
        builder.hides(ALLOCATOR);
        for it in uses {
            builder.stack(&it.stack, &it.values);
        }
        builder.encode()
    }
}
