//! An architecture as an argument: in every form that the field writes it in, or as the result of a run.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result, anyhow};
use nas::{
    files::shown,
    retrain::{self, MODEL, Model},
    search::GENOTYPE,
    sniff,
    space::{self, Genotype, NasBench201, SearchSpace, nas_bench_201::ARCHITECTURES},
};
use serde_json::Value;

use crate::{args, error::HintExt};

/// Reads an architecture: an index or a text in the notation of a space, a genotype as JSON, the folder of a finished run,
/// `@FILE` with one of these in it, or `-` for one on standard input. `space`: which one it has to be of, if that is known.
///
/// # Errors
/// It is none of these, or a run without a result.
pub fn read(given: &str, space: Option<&'static dyn SearchSpace>) -> Result<Genotype> {
    let text = given.trim();
    if text == "-" {
        let inner = io::read_to_string(io::stdin()).context("cannot read the architecture on standard input")?;
        return plain(&inner, space).context("architecture on standard input");
    }
    if let Some(path) = args::file_of(text)? {
        let inner =
            sniff::read_text(Path::new(path)).with_context(|| format!("cannot read the architecture file {path}"))?;
        return plain(&inner, space).with_context(|| format!("architecture file {path}"));
    }
    // A folder may be called as an index is; `./` says that it is one.
    let named = plain(text, space);
    if named.is_err() && Path::new(text).is_dir() {
        return of_run(Path::new(text), space);
    }
    named
}

fn plain(text: &str, space: Option<&'static dyn SearchSpace>) -> Result<Genotype> {
    let known = |s: &'static dyn SearchSpace| s.name() == NasBench201.name();
    let hint = if space.is_some_and(known) {
        format!(
            "an architecture looks like '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|', in quotes; an index is 0..={}",
            ARCHITECTURES - 1
        )
    } else {
        "quote the architecture; `hpe-darts describe --help` shows every notation".to_owned()
    };
    space::read(text, space).hint(hint)
}

/// What a training in a folder, finished or not, trains.
///
/// # Errors
/// A description that cannot be used.
pub fn trained(folder: &Path) -> Result<Option<Model>> {
    let path = folder.join(MODEL);
    if path.is_file() { Ok(Some(Model::read(&path)?)) } else { Ok(None) }
}

/// What a search has found, or what a training has trained.
fn of_run(folder: &Path, space: Option<&'static dyn SearchSpace>) -> Result<Genotype> {
    let shown = shown(folder);
    if let Some(model) = trained(folder)? {
        let own = space::find(&model.space)?;
        let genotype = space::read(&model.arch, Some(own)).with_context(|| shown.clone())?;
        return space.map_or(Ok(()), |space| genotype.check(space)).map(|()| genotype).context(shown);
    }
    let result = [GENOTYPE, retrain::RESULT].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
    let Some(path) = result else {
        return Err(anyhow!("{shown} is not the folder of a finished run"))
            .hint(format!("a run that was stopped goes on with `hpe-darts resume {shown}`"));
    };
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let genotype = serde_json::from_str::<Value>(&text).ok().map(|result| result["genotype"].to_string());
    let genotype = genotype.with_context(|| format!("{} is not the result of a run", path.display()))?;
    space::read(&genotype, space).with_context(|| format!("{}", path.display()))
}
