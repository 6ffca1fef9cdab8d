//! The CSV loader component, two partitions at a time, against arrow-csv in native Rust on one thread.

use std::{fs::File, io::Seek, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use plinth_ext::Loader;
use plinth_plugin::{FileObjects, Grants, Host, HostConfig};

use crate::{
    Place,
    figures::{Figures, Target},
    memory::write_csv,
};

const FILE_BYTES: u64 = 100 << 20;
const BATCH_ROWS: usize = 8192;
const THREADS: usize = 2;

/// A file of 100 MiB; the best of three runs of each, taken in turns.
pub(crate) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir_in(place.root.join("target"))?;
    let path = folder.path().join("big.csv");
    write_csv(&path, FILE_BYTES)?;
    let host = Host::new(HostConfig {
        cache_dir: folder.path().join("cache"),
        limits: plinth_core::PluginLimits::default(),
        deterministic: false,
        compiler: place.compiler(),
        progress: None,
    });
    let plugin = host.load_file(&place.plugins.join("load-csv.wasm"), &Grants::of(["objects"]))?;
    let loader = plugin.loader(Arc::new(FileObjects::new([path.clone()])))?;
    let source = path.to_str().context("a path in UTF-8")?;
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let start = Instant::now();
        let native_rows = native(&path)?;
        theirs = theirs.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let rows = component(loader.as_ref(), source)?;
        ours = ours.min(start.elapsed().as_secs_f64());
        ensure!(rows == native_rows, "the component read {rows} rows, arrow-csv {native_rows}");
    }
    let rate = |seconds: f64| (FILE_BYTES >> 20) as f64 / seconds;
    figures.add("CSV, arrow-csv on one thread", rate(theirs), "MiB/s", Target::None);
    figures.add("CSV, component on two threads", rate(ours), "MiB/s", Target::None);
    figures.add("CSV component / arrow-csv speed", theirs / ours, "x", Target::AtLeast(0.5));
    Ok(())
}

fn native(path: &std::path::Path) -> Result<usize> {
    let mut file = File::open(path)?;
    let format = arrow_csv::reader::Format::default().with_header(true);
    let (schema, _) = format.infer_schema(&mut file, Some(1000))?;
    file.rewind()?;
    let reader =
        arrow_csv::ReaderBuilder::new(Arc::new(schema)).with_header(true).with_batch_size(BATCH_ROWS).build(file)?;
    let mut rows = 0;
    for batch in reader {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

fn component(loader: &dyn Loader, source: &str) -> Result<usize> {
    let item = loader.items().first().context("a loader")?.name.clone();
    let plan = loader.plan(&item, source, "{}")?;
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut rows = 0;
                    while let Some(part) = plan.partitions.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                    {
                        let mut reader = loader.open(&item, source, "{}", &plan.schema, &part.token)?;
                        while let Some(batch) = reader.next(BATCH_ROWS as u32)? {
                            rows += batch.num_rows();
                        }
                    }
                    Ok::<_, anyhow::Error>(rows)
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?).sum()
    })
}
