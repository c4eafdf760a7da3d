//! What every walk over a graph relies on.

use std::collections::HashSet;

use hpe_darts_engine::{
    BlockKind, CellBlock, CellOutput, CpuEngines, EngineError, Gather, Graph, Head, ImageShape, Kernels, LayerKind,
    NetworkSpec, Op, Options, Preprocess, Stages,
};

use crate::cases;
use crate::compare::build;

fn specs() -> Vec<NetworkSpec> {
    let deep = Stages { cells_per_stage: 2, ..cases::stages(cases::nas_bench_201(), (9, 6, 3), 4, 3) };
    vec![
        deep.network(),
        cases::discrete(&[Op::None; 6], deep.network()),
        cases::two_inputs((8, 8, 3), 4),
        NetworkSpec { auxiliary: Some(0), ..cases::two_inputs((8, 8, 3), 4) },
        cases::partial(2, deep.network()),
        cases::partial(2, cases::two_inputs((8, 8, 3), 4)),
        cases::passing(1, cases::two_inputs((8, 8, 3), 4)),
        cases::partial(2, cases::passing(2, cases::two_inputs((8, 8, 3), 4))),
    ]
}

#[test]
fn layers_read_what_is_made_before_and_every_value_has_one_maker() {
    for spec in specs() {
        let graph = spec.graph().unwrap();
        let mut made = HashSet::from([Graph::IMAGE]);
        for (id, layer) in graph.layers.iter().enumerate() {
            assert!(layer.inputs.iter().all(|x| made.contains(x)), "{}", layer.name);
            assert!(made.insert(layer.output), "{}", layer.name);
            assert_eq!(graph.values[layer.output].layer, Some(id));
            for &x in &layer.inputs {
                assert_eq!(graph.readers(x).iter().filter(|&&reader| reader == id).count(), 1);
            }
        }
        assert_eq!(made.len(), graph.values.len());
        let read: usize = (0..graph.values.len()).map(|x| graph.readers(x).len()).sum();
        let distinct = |inputs: &Vec<usize>| inputs.iter().collect::<HashSet<_>>().len();
        assert_eq!(read, graph.layers.iter().map(|l| distinct(&l.inputs)).sum::<usize>());
    }
}

#[test]
fn names_are_unique() {
    for spec in specs() {
        let graph = spec.graph().unwrap();
        let tensors = graph.parameters().map(|p| p.name).chain(graph.statistics().map(|(name, _)| name));
        for names in [tensors.collect::<Vec<_>>(), graph.layers.iter().map(|l| l.name.clone()).collect()] {
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
        }
    }
}

#[test]
fn outputs_that_only_mixes_read_need_not_be_stored() {
    let graph = cases::two_inputs((8, 8, 3), 4).graph().unwrap();
    let stored = |name: &str| {
        let layer = graph.layers.iter().find(|l| l.name == name).unwrap();
        graph.is_stored(layer.output)
    };
    assert!(!stored("cells.0.edges.0.sep_conv3x3.second") && !stored("cells.0.edges.0.max_pool3x3"));
    for name in [
        "stem.conv",
        "cells.0.edges.0.sep_conv3x3.first",
        "cells.0.preprocess.0",
        "cells.0.nodes.2",
        "cells.0.concat",
        "head.linear",
    ] {
        assert!(stored(name), "{name}");
    }
    assert!(graph.is_stored(Graph::IMAGE));
}

#[test]
fn zeros_and_dead_operations_are_no_layers() {
    let [_, none, ..] = &specs()[..] else { panic!("four networks") };
    let graph = none.graph().unwrap();
    for layer in graph.layers.iter().filter(|l| l.name.contains(".nodes.")) {
        let LayerKind::Mix { weights, zeros, .. } = &layer.kind else { panic!("{}", layer.name) };
        assert!(layer.inputs.is_empty() && weights.is_empty() && !zeros.is_empty(), "{}", layer.name);
    }
    assert!(!graph.layers.iter().any(|l| l.name.contains(".edges.")));
}

#[test]
fn stages_are_recognised_and_nothing_else() {
    let stages = cases::stages(cases::nas_bench_201(), (9, 6, 3), 4, 3);
    assert_eq!(Stages::of(&stages.network()), Some(stages.clone()));
    let none = Stages { cells_per_stage: 0, ..stages };
    assert_eq!(Stages::of(&none.network()), Some(none));
    assert_eq!(Stages::of(&cases::two_inputs((8, 8, 3), 4)), None);
}

/// They are there whatever is alive, belong to no operation, and have weights of their own where they reduce.
#[test]
fn auxiliary_skips_pass_by_every_edge() {
    let mut spec = cases::passing(2, cases::two_inputs((8, 8, 3), 4));
    spec.alive.fill(false);
    let graph = spec.graph().unwrap();
    let skips: Vec<_> = graph.units().filter_map(|(layer, unit)| Some((&layer.name[..], unit.beside?))).collect();
    // Into node 3 of the reduction cell comes an edge of stride 1.
    assert_eq!(skips, [("cells.1.edges.0.auxiliary_skip", 3), ("cells.1.edges.1.auxiliary_skip", 4)]);
    assert!(graph.units().all(|(_, unit)| unit.place.is_none()));
    let node = |name: &str| graph.layers.iter().find(|l| l.name == name).unwrap();
    let made_by = |name: &str| node(name).inputs.iter().map(|&x| &graph.maker(x).unwrap().name[..]).collect::<Vec<_>>();
    assert_eq!(made_by("cells.0.nodes.3"), ["cells.0.preprocess.1", "cells.0.nodes.2"]);
    assert_eq!(made_by("cells.1.nodes.2"), skips.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

/// Of 12 channels in 4 groups of 3 the shuffle puts the first of each group first; a part lands where the whole would.
#[test]
fn a_shuffle_is_the_transpose_of_its_groups() {
    let shuffle = |first, from| {
        let rule = Gather::Shuffle { groups: 4, first };
        (0..12).map(|channel| rule.source(channel, from, 12)).collect::<Vec<_>>()
    };
    let whole: Vec<usize> = shuffle(0, 12).into_iter().flatten().collect();
    assert_eq!(whole, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
    for (channel, (seen, rest)) in shuffle(0, 3).into_iter().zip(shuffle(3, 9)).enumerate() {
        assert_eq!(
            (seen, rest.map(|source| source + 3)),
            match whole[channel] {
                source @ 0..3 => (Some(source), None),
                source => (None, Some(source)),
            }
        );
    }
    assert_eq!(Gather::Slice { first: 3 }.source(2, 12, 9), Some(5));
}

/// Every operation, with 1 / k of the channels: 1x1 convolutions have 1 / k^2 of the weights.
#[test]
fn partial_channels_make_operations_smaller() {
    let cell = cases::cell(2, &[(0, 1)], &[Op::Conv1x1, Op::None]);
    for (parts, shape) in [(1, [8, 8, 1, 1]), (4, [2, 2, 1, 1])] {
        let spec = cases::partial(parts, cases::supernet(cell.clone(), (4, 4, 3), 8, 1));
        let graph = spec.graph().unwrap();
        let mut convolutions = graph.parameters().filter(|p| p.name.contains("conv1x1"));
        assert_eq!(convolutions.next().unwrap().shape, shape);
    }
}

#[test]
fn the_engine_refuses_what_it_has_no_kernels_for() {
    let options = Options { threads: 1, kernels: Kernels::Auto };
    // Cells that read a concatenation without a layer in between.
    let mut bare = cases::two_inputs((8, 8, 3), 4);
    bare.blocks.truncate(2);
    bare.blocks[1].kind = BlockKind::Cell(CellBlock {
        cell: 0,
        first_row: 0,
        channels: 8,
        preprocess: vec![Preprocess::Conv1x1, Preprocess::None],
    });
    let normalised = NetworkSpec { head: Head::NormRelu, ..cases::two_inputs((8, 8, 3), 4) };
    for (spec, part) in [(bare, "of a concatenation"), (normalised, "normalisation of a concatenation")] {
        let error = build(&spec, 0, options).unwrap_err();
        assert!(matches!(&error, EngineError::Unsupported(what) if what.contains(part)), "{error}");
        assert_eq!(CpuEngines::supports(&spec), Err(error));
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = cases::two_inputs((8, 8, 3), 4);
    let refused = |change: &dyn Fn(&mut NetworkSpec), part: &str| {
        let mut spec = good.clone();
        change(&mut spec);
        let error = spec.graph().unwrap_err();
        assert!(matches!(&error, EngineError::Spec(why) if why.contains(part)), "{error}");
        assert!(spec.check().is_err());
    };
    refused(&|s| s.cells[0].inputs = 3, "a cell of 3 inputs, expected 1 or 2");
    refused(&|s| s.cells[1].stride = 3, "a cell of stride 3, expected 1 or 2");
    refused(&|s| s.cells[0].nodes = 2, "a cell of 2 nodes, expected at least 3");
    refused(&|s| s.cells[0].edges[0].to = 1, "edge 0 -> 1 in a cell of 4 nodes");
    for nodes in [0, 3] {
        let part = format!("a cell that puts {nodes} nodes out, expected 1 to 2");
        refused(&|s| s.cells[1].output = CellOutput::Concat(nodes), &part);
    }
    refused(&|s| s.ops[1] = s.ops[0], "listed twice");
    refused(&|s| s.alive.push(true), "a mask of 49 operations, expected 6 edges x 8 operations");
    refused(&|s| s.blocks[1].name = "cells.0".to_owned(), "two blocks are called `cells.0`");
    refused(&|s| s.partial = 3, "block `cells.0` has 4 channels, expected a multiple of 3");
    refused(&|s| s.partial = 0, "one of 0 parts");
    refused(&|s| s.auxiliary = Some(3), "an auxiliary head after block 3 of 3");
    refused(&|s| s.auxiliary = Some(1), "an auxiliary head on an image of 4 x 4");
    refused(&|s| s.stem_channels = 1 << 21, "channels is 2097152, expected 1 to 1048576");
    refused(&|s| s.image = ImageShape { width: 0, ..s.image }, "image width is 0");
    let cell = |s: &mut NetworkSpec, change: &dyn Fn(&mut hpe_darts_engine::CellBlock)| match &mut s.blocks[2].kind {
        BlockKind::Cell(block) => change(block),
        BlockKind::Residual { .. } => panic!("a cell"),
    };
    refused(&|s| cell(s, &|b| b.cell = 2), "a cell of kind 2, there are 2");
    refused(&|s| cell(s, &|b| b.first_row = 4), "reads 3 rows of w from row 4, there are 6");
    refused(&|s| cell(s, &|b| b.first_row = usize::MAX), "there are 6");
    refused(&|s| cell(s, &|b| b.channels = 0), "`cells.2` has 0 channels");
    refused(&|s| cell(s, &|b| b.preprocess.truncate(1)), "has 1 preprocess layers, its cell has 2 inputs");
    // The older input is twice as high and wide as the newer.
    refused(
        &|s| cell(s, &|b| b.preprocess[0] = Preprocess::Conv1x1),
        "an input of block `cells.2` is 4 x 4 x 8, expected 8 x 8 x 8",
    );
    refused(
        &|s| {
            s.cells.iter_mut().for_each(|c| c.output = CellOutput::LastNode);
            cell(s, &|b| b.channels = 1);
        },
        "has 1 channel, expected at least 2",
    );
}
