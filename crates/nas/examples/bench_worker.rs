//! The engine's side of `bench/side_by_side.py`: loads a network and a batch, then answers commands from standard
//! input, one JSON object a line: `check FILE` (one step's loss and gradients), `step N` and `eval N` (milliseconds of
//! each), `reset_peak`, `peak` (resident memory in MB, where the system tells).
//!
//! `bench_worker graph` reads a specification from standard input and prints the network's graph, both as JSON.
//!
//! `bench_worker FILE THREADS auto|direct|winograd|reference`. FILE: one line of JSON (`spec`, `tensors`: names and
//! shapes), then the tensors' values as little-endian f32, back to back.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use engine::{
    Batch, CpuEngines, Edge, Engine, Engines, Gradients, ImageShape, Kernels, NetworkSpec, Normalisation, Op, Options,
    Pass, Sgd, Stages, TensorState, Vector,
};
use hpe_darts_nas::space::{self, NetworkShape};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The same as in `bench/pytorch_worker.py`.
const SGD: Sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, clip_norm: None };
const LEARNING_RATE: f32 = 0.025;

struct Worker {
    network: Box<dyn Engine>,
    images: Vec<f32>,
    labels: Vec<u32>,
    mixing: Vec<f32>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["graph"] {
        let graph = spec(&serde_json::from_reader(io::stdin().lock())?)?.graph()?;
        writeln!(io::stdout(), "{}", serde_json::to_string(&graph)?)?;
        return Ok(());
    }
    let [file, threads, kernels] = arguments.as_slice() else {
        return Err("usage: bench_worker FILE THREADS auto|direct|winograd|reference".into());
    };
    let kernels = match kernels.as_str() {
        "auto" => Kernels::Auto,
        "direct" => Kernels::Direct,
        "winograd" => Kernels::Winograd,
        "reference" => Kernels::Reference,
        other => return Err(format!("no kernels `{other}`, expected auto, direct, winograd or reference").into()),
    };
    let mut worker = Worker::load(file, Options { threads: threads.parse()?, kernels })?;
    for line in io::stdin().lock().lines() {
        let answer = worker.answer(&line?)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

impl Worker {
    fn load(file: &str, options: Options) -> Result<Self> {
        let (header, tensors) = read(file)?;
        let mut network = CpuEngines::new(options)?.build(&spec(&header["spec"])?, 0)?;
        let (inputs, weights): (Vec<_>, Vec<_>) =
            tensors.into_iter().partition(|t| ["images", "labels", "mixing"].contains(&t.name.as_str()));
        let input = |name: &str| {
            let found = inputs.iter().find(|t| t.name == name);
            found.map(|t| t.data.clone()).ok_or_else(|| format!("{file} has no tensor `{name}`"))
        };
        let (images, labels, mixing) = (input("images")?, input("labels")?, input("mixing")?);
        // The file has no momentum: keep the new network's.
        let momentum = network.state().into_iter().filter(|t| t.name.starts_with("momentum."));
        let state: Vec<TensorState> = weights.into_iter().chain(momentum).collect();
        network.load_state(&state)?;
        let labels = labels.iter().map(|&l| l as u32).collect();
        Ok(Self { network, images, labels, mixing })
    }

    fn answer(&mut self, line: &str) -> Result<Value> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "check" => {
                let batch = Batch { images: &self.images, labels: &self.labels };
                let out = self.network.train_step(batch, Pass::new(&self.mixing), Gradients::Both)?;
                write(argument, &self.network.tensors(Vector::Gradient).unwrap())?;
                Ok(json!({"loss": out.loss, "correct": out.correct, "mixing_grad": out.mixing_grad}))
            }
            "step" => timed(argument.parse()?, || {
                let batch = Batch { images: &self.images, labels: &self.labels };
                let out = self.network.train_step(batch, Pass::new(&self.mixing), Gradients::Both)?;
                self.network.sgd_step(&SGD, LEARNING_RATE);
                Ok(out.loss)
            }),
            "eval" => {
                // Over the same images a pass would go on from the one before.
                let other: Vec<f32> = self.images.iter().map(|v| -v).collect();
                let mut both = [&self.images, &other].into_iter().cycle();
                timed(argument.parse()?, || {
                    let images = both.next().ok_or("no images")?;
                    let batch = Batch { images, labels: &self.labels };
                    Ok(self.network.evaluate(batch, Pass::new(&self.mixing), Normalisation::Batch)?.loss)
                })
            }
            "reset_peak" => {
                // Linux: makes the peak the present resident size. Elsewhere the peak is not reported either.
                let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
                Ok(json!({"reset": reset}))
            }
            "peak" => Ok(json!({"mb": peak_mb()})),
            other => Err(format!("no command `{other}`").into()),
        }
    }
}

fn timed(times: usize, mut work: impl FnMut() -> Result<f64>) -> Result<Value> {
    let mut ms = Vec::with_capacity(times);
    let mut loss = f64::NAN;
    for _ in 0..times {
        let start = Instant::now();
        loss = work()?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(json!({"ms": ms, "loss": loss}))
}

/// Highest resident size since the last reset, where `/proc` tells.
fn peak_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kb: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kb / 1024.0)
}

fn read(file: &str) -> Result<(Value, Vec<TensorState>)> {
    let bytes = fs::read(file)?;
    let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(|| format!("{file} has no header line"))?;
    let header: Value = serde_json::from_slice(&bytes[..end])?;
    let mut values = bytes[end + 1..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut tensors = Vec::new();
    for tensor in header["tensors"].as_array().ok_or("no tensors in the header")? {
        let name = tensor["name"].as_str().ok_or("a tensor without name")?.to_string();
        let shape = counts(&tensor["shape"])?;
        let len = shape.iter().product();
        let data: Vec<f32> = values.by_ref().take(len).collect();
        if data.len() != len {
            return Err(format!("{file} ends within tensor `{name}`").into());
        }
        tensors.push(TensorState { name, shape, data });
    }
    Ok((header, tensors))
}

fn write(file: &str, tensors: &[TensorState]) -> Result<()> {
    let names: Vec<Value> = tensors.iter().map(|t| json!({"name": t.name, "shape": t.shape})).collect();
    let mut bytes = json!({"tensors": names}).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend(tensors.iter().flat_map(|t| &t.data).flat_map(|v| v.to_le_bytes()));
    Ok(fs::write(file, bytes)?)
}

/// Reads `Spec` of `bench/pytorch_network.py`.
fn spec(v: &Value) -> Result<NetworkSpec> {
    if let Some(name) = v["space"].as_str() {
        return of_space(name, v);
    }
    let edges = v["edges"].as_array().ok_or("edges is not a list")?;
    let edges =
        edges.iter().map(|e| Ok(Edge { from: count(&e[0])?, to: count(&e[1])? })).collect::<Result<Vec<_>>>()?;
    let ops = v["ops"].as_array().ok_or("ops is not a list")?;
    let ops = ops.iter().map(op).collect::<Result<Vec<_>>>()?;
    let image = counts(&v["image"])?;
    let alive = match v["alive"].as_array() {
        Some(alive) => alive.iter().map(|a| a.as_bool() == Some(true)).collect(),
        None => vec![true; edges.len() * ops.len()],
    };
    Ok(Stages {
        stem_stride: 1,
        image: ImageShape { height: image[0], width: image[1], channels: image[2] },
        classes: count(&v["classes"])?,
        channels: count(&v["channels"])?,
        cells_per_stage: count(&v["cells_per_stage"])?,
        stages: count(&v["stages"])?,
        nodes: count(&v["nodes"])?,
        edges,
        ops,
        alive,
        affine: v["affine"].as_bool() == Some(true),
    }
    .network())
}

/// The supernet of a space, or the network of a genotype.
fn of_space(name: &str, v: &Value) -> Result<NetworkSpec> {
    let space = space::find(name)?;
    let image = counts(&v["image"])?;
    let shape = NetworkShape {
        stem_stride: 1,
        image: ImageShape { height: image[0], width: image[1], channels: image[2] },
        classes: count(&v["classes"])?,
        channels: count(&v["channels"])?,
        cells: count(&v["cells_per_stage"])?,
    };
    Ok(match v["genotype"].as_str() {
        None => space.supernet(&shape)?,
        Some(genotype) => space.network(&space::read(genotype, Some(space))?, &shape)?,
    })
}

fn op(name: &Value) -> Result<Op> {
    let op = Op::ALL.into_iter().find(|op| name.as_str() == Some(op.name()));
    Ok(op.ok_or_else(|| format!("no operation {name}"))?)
}

fn count(v: &Value) -> Result<usize> {
    Ok(v.as_u64().ok_or_else(|| format!("{v} is not a count"))? as usize)
}

fn counts(v: &Value) -> Result<Vec<usize>> {
    v.as_array().ok_or_else(|| format!("{v} is not a list"))?.iter().map(count).collect()
}
