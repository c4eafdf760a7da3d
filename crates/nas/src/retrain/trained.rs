use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use engine::{Engine, Graph, NetworkSpec, Normalisation, Pass, TensorState};

use super::{
    error::RetrainError,
    launch,
    model::{MODEL, Model},
    plan::Plan,
};
use crate::{
    Here,
    data::LoadEvent,
    run::{CONFIG, Kept, Moment},
    search::GENOTYPE,
    space::{Genotype, SearchSpace},
    supernet::MakeEngine,
    tensors,
};

/// A trained network: what it is, and its weights. Whoever uses trained weights opens them here.
#[derive(Clone, Debug)]
pub struct Trained {
    model: Model,
    space: &'static dyn SearchSpace,
    genotype: Genotype,
    network: NetworkSpec,
    graph: Graph,
    tensors: Vec<TensorState>,
    trained: Option<(usize, usize)>,
}

/// A trained network that runs.
#[derive(Debug)]
pub struct Classifier {
    engine: Box<dyn Engine>,
    /// Every operation that is alive counts once.
    w: Vec<f32>,
    classes: usize,
}

/// A checkpoint of a training.
#[derive(Debug)]
pub(super) struct Saved {
    run: PathBuf,
    kept: Kept,
}

impl Saved {
    /// The newest checkpoint, or the one kept at the end of `epoch`, counted from 1. Nothing in the run folder changes.
    pub(super) fn open(run: &Path, epoch: Option<usize>) -> Result<Self, RetrainError> {
        if !run.exists() {
            return Err(RetrainError::NoSuchPath(run.to_owned()));
        }
        if !launch::is_retraining(run) {
            let searched = run.join(CONFIG).exists() || run.join(GENOTYPE).exists();
            let error = if searched { RetrainError::Search } else { RetrainError::NoTraining };
            return Err(error(run.to_owned()));
        }
        let kept = Kept::open(run, epoch)?;
        // An older network must not pass for the one that was trained.
        if let Some(why) = kept.fallback() {
            return Err(RetrainError::Damaged { run: run.to_owned(), why: why.to_owned() });
        }
        Ok(Self { run: run.to_owned(), kept })
    }

    /// The configuration of the run with its data, where that is there.
    pub(super) fn plan(&self, here: &Here, notify: &mut dyn FnMut(LoadEvent)) -> Result<Plan, RetrainError> {
        let mut config = launch::read(&self.run.join(CONFIG))?;
        here.replace(&mut config.data.dir, &mut config.threads);
        let plan = Plan::new(config, here.home.as_deref(), notify)?;
        self.kept.same_settings(&plan.decisive())?;
        Ok(plan)
    }

    /// The network. `plan` is called for a folder of a version that wrote no model.
    pub(super) fn into_trained(
        self,
        plan: impl FnOnce(&Self) -> Result<Model, RetrainError>,
    ) -> Result<Trained, RetrainError> {
        let path = self.run.join(MODEL);
        let model = if path.exists() { Model::read(&path)? } else { plan(&self)? };
        for (key, said) in [("space", &model.space), ("arch", &model.arch)] {
            let made = self.kept.settings().get(key).and_then(|value| value.as_str()).unwrap_or_default();
            if made != said {
                let why = format!("its {key} is {said}, the checkpoint was made with {made}");
                return Err(RetrainError::Model { path, why });
            }
        }
        // Weights fit any stride, so nothing else would notice.
        let made = self.kept.settings().get("network").and_then(|network| network.get("stem_stride"));
        let made = made.and_then(toml::Value::as_integer).unwrap_or(1);
        if usize::try_from(made) != Ok(model.stem_stride) {
            let why = format!("its stem_stride is {}, the checkpoint was made with {made}", model.stem_stride);
            return Err(RetrainError::Model { path, why });
        }
        let position = self.kept.position();
        let steps = if let Moment::Step(step) = position.moment { step } else { 0 };
        let epochs = position.epoch + usize::from(position.moment == Moment::End);
        let tensors = self.kept.into_tensors();
        Trained::new(&self.run, model, tensors, Some((epochs, steps)))
    }
}

impl Trained {
    /// A trained network: the folder of a training, its newest checkpoint or the one kept at the end of `epoch` (counted from 1);
    /// or a file `NAME.safetensors` with `NAME.json` beside it, as an export writes them. The data set is needed only for
    /// a folder of a version that wrote no model; `here` and `notify` are for that.
    ///
    /// # Errors
    /// There is no such network; a model or weights that do not fit together.
    pub fn open(
        path: &Path,
        epoch: Option<usize>,
        here: &Here,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, RetrainError> {
        if !path.is_file() {
            return Saved::open(path, epoch)?
                .into_trained(|saved| saved.plan(here, notify).map(|plan| Model::of(&plan)));
        }
        if epoch.is_some() {
            return Err(RetrainError::OneEpoch(path.to_owned()));
        }
        let failed = |why: String| RetrainError::Weights { path: path.to_owned(), why };
        if path.extension().is_none_or(|e| !e.eq_ignore_ascii_case("safetensors")) {
            return Err(RetrainError::NoTraining(path.to_owned()));
        }
        let model = Model::read(&path.with_extension("json"))?;
        let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
        Self::new(path, model, tensors::decode(&bytes).map_err(failed)?, None)
    }

    fn new(
        path: &Path,
        model: Model,
        given: Vec<TensorState>,
        trained: Option<(usize, usize)>,
    ) -> Result<Self, RetrainError> {
        let (space, genotype, network) = model.network()?;
        let graph = network.graph()?;
        let failed = |why: String| RetrainError::Weights { path: path.to_owned(), why };
        let parameters = graph.parameters().map(|p| (p.name, p.shape));
        let statistics = graph.statistics().map(|(name, channels)| (name, vec![channels]));
        let mut given: HashMap<String, TensorState> = given.into_iter().map(|t| (t.name.clone(), t)).collect();
        let mut tensors = vec![];
        for (name, shape) in parameters.chain(statistics) {
            let tensor = given.remove(&name).ok_or_else(|| failed(format!("tensor {name} is missing")))?;
            if tensor.shape != shape {
                return Err(failed(format!("tensor {name} is {:?}, expected {shape:?}", tensor.shape)));
            }
            if let Some(value) = tensor.data.iter().find(|value| !value.is_finite()) {
                return Err(failed(format!("tensor {name} has a value {value}")));
            }
            tensors.push(tensor);
        }
        // What only training needs.
        let training = |name: &str| ["momentum.", "auxiliary."].iter().any(|prefix| name.starts_with(prefix));
        if let Some(other) = given.keys().filter(|name| !training(name)).min() {
            return Err(failed(format!("tensor {other} does not belong to the network")));
        }
        Ok(Self { model, space, genotype, network, graph, tensors, trained })
    }

    /// What it is.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its search space.
    pub fn space(&self) -> &'static dyn SearchSpace {
        self.space
    }

    /// Its architecture.
    pub fn genotype(&self) -> &Genotype {
        &self.genotype
    }

    /// The network, without an auxiliary head.
    pub fn network(&self) -> &NetworkSpec {
        &self.network
    }

    /// The same as values and layers.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Weights, then running statistics, each in the order of the graph's layers.
    pub fn tensors(&self) -> &[TensorState] {
        &self.tensors
    }

    /// Whole epochs that it has been trained for, and steps of the one after them; `None` of an exported network.
    pub fn trained(&self) -> Option<(usize, usize)> {
        self.trained
    }

    /// The network with its weights in an engine.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn classifier(&self, make: &MakeEngine) -> Result<Classifier, RetrainError> {
        let mut engine = make(&self.network, 0)?;
        let given: HashMap<&str, &TensorState> = self.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        // The optimiser's part of the state stays as it is: nothing is trained here.
        let own = |t: TensorState| given.get(t.name.as_str()).map_or_else(|| t.clone(), |&given| given.clone());
        let state: Vec<_> = engine.state().into_iter().map(own).collect();
        engine.load_state(&state)?;
        Ok(Classifier { engine, w: vec![1.0; self.network.mixing_len()], classes: self.model.classes.len() })
    }
}

impl Classifier {
    /// Outputs `[n, classes]` before softmax for images `[n, H, W, C]`, normalised; running statistics are used. `first`: the
    /// number of the first image, for messages.
    ///
    /// # Errors
    /// Images that do not fit; [`RetrainError::Output`].
    pub fn logits(&mut self, images: &[f32], first: usize) -> Result<Vec<f32>, RetrainError> {
        let logits = self.engine.logits(images, Pass::new(&self.w), Normalisation::Running)?;
        match logits.iter().position(|l| !l.is_finite()) {
            Some(at) => Err(RetrainError::Output { image: first + at / self.classes }),
            None => Ok(logits),
        }
    }
}
