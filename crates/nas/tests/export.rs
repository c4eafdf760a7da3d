//! What a training leaves is a model that can be used, and exported networks compute what the program computes.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use hpe_darts_nas::{
    data::{Loader, LoaderOptions},
    export::{FORMATS, Options, Writer},
    retrain::{Evaluator, MODEL, Model, Plan, Request, Retrain, Trained},
    run::Observers,
    search::cpu_engines,
    space,
};
use rten::Value;
use rten_tensor::{AsView, Layout, NdTensor};

const CELL: &str = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
/// No edge ends in the second node.
const SPARSE: &str = "|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|skip_connect~2|";
const EMPTY: &str = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
/// Every operation of the space.
const DARTS: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('dil_conv_3x3', 1), \
     ('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('dil_conv_5x5', 2), ('skip_connect', 0)], normal_concat=range(2, 6), \
     reduce=[('max_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 2), ('dil_conv_5x5', 1), ('avg_pool_3x3', 0), \
     ('skip_connect', 1), ('skip_connect', 2), ('sep_conv_5x5', 1)], reduce_concat=range(2, 6))";

/// Trains for an epoch.
fn train(arch: &str, folder: &Path, set: &[&str]) -> Plan {
    let request = Request {
        epochs: Some(1),
        seed: Some(1),
        threads: Some(1),
        set: ["network.channels=4", "network.cells=3"].iter().chain(set).map(|&s| s.to_owned()).collect(),
        ..Request::new(space::read(arch, None).unwrap())
    };
    let plan = Plan::new(request.resolve().unwrap(), None, &mut |_| {}).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let training = Retrain::start(plan.clone(), &plan.engines(), folder, Observers::none(), stop);
    training.unwrap().run().unwrap();
    plan
}

fn open(path: &Path) -> Trained {
    Trained::open(path, None, &hpe_darts_nas::Here::default(), &mut |_| {}).unwrap()
}

fn files(format: &str, trained: &Trained, options: Options) -> Vec<Vec<u8>> {
    let format = FORMATS.iter().find(|f| f.name == format).unwrap();
    match format.writer {
        Writer::Network { write, .. } => write(trained, &options).unwrap(),
        Writer::Architecture(_) => unreachable!("not of a network"),
    }
}

/// Test images `[n, H, W, C]`, normalised.
fn images(plan: &Plan, count: usize) -> Vec<f32> {
    let batch = Loader::single(&plan.test, &LoaderOptions::evaluation(count), 0, 0).unwrap();
    batch.images().to_vec()
}

/// Outputs of an ONNX file for images `[n, H, W, C]`.
fn run(file: Vec<u8>, images: &[f32], image: engine::ImageShape) -> Vec<f32> {
    let engine::ImageShape { height, width, channels } = image;
    let n = images.len() / image.len();
    let at = |[i, c, y, x]: [usize; 4]| images[((i * height + y) * width + x) * channels + c];
    let input = NdTensor::from_fn([n, channels, height, width], at);
    let model = rten::Model::load(file).unwrap();
    let output = model.run_one(Value::from(input).into(), None).unwrap();
    let output: NdTensor<f32, 2> = output.try_into().unwrap();
    assert_eq!(output.shape()[0], n);
    output.to_vec()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn onnx_files_compute_what_the_program_computes() {
    for (arch, set) in [
        (CELL, &[][..]),
        (SPARSE, &[]),
        (EMPTY, &[]),
        (DARTS, &["network.cells=5"]),
        (CELL, &["network.stem_stride=2"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let plan = train(arch, &folder.path().join("run"), set);
        let trained = open(&folder.path().join("run"));
        let image = trained.model().image;
        let images = images(&plan, 100);
        let own = trained.classifier(&cpu_engines(Some(1))).unwrap().logits(&images, 0).unwrap();
        let norm = &trained.model().normalisation;
        let pixels: Vec<f32> = images.iter().map(|v| v * norm.std[0] + norm.mean[0]).collect();
        for fold_bn in [false, true] {
            let file = |with_normalisation| files("onnx", &trained, Options { fold_bn, with_normalisation }).remove(0);
            for (file, images) in [(file(false), &images), (file(true), &pixels)] {
                let off = furthest(&run(file.clone(), images, image), &own);
                assert!(off < 1e-4, "{arch}: {off}");
                let one = run(file, &images[..image.len()], image);
                assert!(furthest(&one, &own[..10]) < 1e-4, "{arch}");
            }
        }
        assert!(arch == EMPTY || own.iter().any(|l| l.abs() > 0.1), "{own:?}");
    }
}

/// Odd sides have windows that are not whole, and halves that reach over the border.
#[test]
fn a_network_is_read_back_from_its_weights_and_odd_sides_are_no_matter() {
    for arch in [CELL, DARTS] {
        let folder = tempfile::tempdir().unwrap();
        let plan = train(arch, &folder.path().join("run"), &[]);
        let trained = open(&folder.path().join("run"));
        let [weights, description]: [Vec<u8>; 2] =
            files("safetensors", &trained, Options::default()).try_into().unwrap();
        let path = folder.path().join("net.safetensors");
        fs::write(&path, &weights).unwrap();
        fs::write(folder.path().join("net.json"), &description).unwrap();
        let again = open(&path);
        assert_eq!((again.model(), again.graph(), again.trained()), (trained.model(), trained.graph(), None));
        assert!(again.tensors() == trained.tensors());
        // The description rebuilds the graph without this program.
        let mut json: serde_json::Value = serde_json::from_slice(&description).unwrap();
        assert_eq!(json["graph"], serde_json::to_value(trained.graph()).unwrap());
        assert_eq!(json["parameters"], trained.graph().cost().parameters);
        for part in ["image", "preprocess"] {
            (json[part]["height"], json[part]["width"]) = (11.into(), 7.into());
        }
        fs::write(folder.path().join("net.json"), json.to_string()).unwrap();
        let odd = open(&path);
        let image = odd.model().image;
        let pixels = images(&plan, 20)[..10 * image.len()].to_vec();
        let own = odd.classifier(&cpu_engines(Some(1))).unwrap().logits(&pixels, 0).unwrap();
        for fold_bn in [false, true] {
            let file = files("onnx", &odd, Options { fold_bn, with_normalisation: false }).remove(0);
            let off = furthest(&run(file, &pixels, image), &own);
            assert!(off < 1e-4, "{arch}: {off}");
        }
    }
}

#[test]
fn a_model_says_what_was_trained_and_what_is_wrong_with_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let plan = train(CELL, &run, &[]);
    let path = run.join(MODEL);
    let model = Model::read(&path).unwrap();
    assert_eq!((model.arch.as_str(), model.classes.len(), model.pixel_max), (CELL, 10, 16));
    assert_eq!(model.normalisation, *plan.train.dataset().normalisation());
    let open = || Trained::open(&run, None, &hpe_darts_nas::Here::default(), &mut |_| {});
    let evaluate = || Evaluator::open(&run, None, &hpe_darts_nas::Here::default(), &mut |_| {}, &cpu_engines(Some(1)));
    assert_eq!(open().unwrap().trained(), Some((1, 0)));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value), part: &str| {
        let mut json = json.clone();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        for error in [open().unwrap_err(), evaluate().unwrap_err()] {
            assert!(error.to_string().contains(part) && error.hint().is_some(), "{error}");
        }
    };
    let classes = |n: usize| (0..n).map(|k| k.to_string()).collect::<Vec<_>>();
    refused(&|m| m["version"] = 9.into(), "format version 9, this program reads 1");
    refused(&|m| m["version"] = "new".into(), "it has no version");
    refused(&|m| m["space"] = "dart".into(), "unknown search space `dart`");
    refused(&|m| m["arch"] = "|".into(), "model.json");
    refused(&|m| m["cells"] = 0.into(), "cells is 0, expected 1 to 1000");
    refused(&|m| m["stem_stride"] = 3.into(), "stem stride is 3, expected 1 to 2");
    refused(&|m| m["stem_stride"] = 2.into(), "the checkpoint was made with");
    refused(&|m| m["classes"] = classes(5).into(), "expected [5, 16]");
    refused(&|m| m["classes"] = classes(1).into(), "1 classes, at least 2");
    refused(&|m| m["classes"][1] = m["classes"][0].clone(), "listed twice");
    refused(&|m| m["channels"] = 5.into(), "expected [5");
    refused(&|m| m["image"]["channels"] = 3.into(), "1 means and 1 deviations for 3 channels");
    refused(&|m| m["preprocess"]["width"] = 9.into(), "pictures are made into 8x9 with 1 channels");
    refused(&|m| m["pixel_max"] = 0.into(), "pixel_max is 0");
    refused(&|m| m["normalisation"]["std"] = vec![0.0].into(), "cannot normalise with 0");
    refused(&|m| *m = "no".into(), "it has no version");
    refused(&|m| m["arch"] = CELL.replace("none~1", "skip_connect~1").into(), "the checkpoint was made with");
    // Fields of later versions do not matter, and a folder of a version that wrote no model is read with its data.
    let mut later = json.clone();
    later["news"] = 1.into();
    later.as_object_mut().unwrap().remove("stem_stride");
    fs::write(&path, later.to_string()).unwrap();
    assert!(open().unwrap().model() == &model);
    fs::write(&path, "{").unwrap();
    assert!(open().unwrap_err().to_string().contains("cannot use the model description"));
    fs::remove_file(&path).unwrap();
    assert!(open().unwrap().model() == &model && evaluate().unwrap().trained().model() == &model);
}
