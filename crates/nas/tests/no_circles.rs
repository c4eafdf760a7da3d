//! No two files import each other in a circle: whoever reads one can read what it needs first.
//!
//! A name that a module re-exports counts as an import of the file that defines it. Tests inside files do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Module = Vec<String>;

/// The modules of a crate by path, with their text up to their tests.
fn modules(folder: &Path, at: &[String], found: &mut BTreeMap<Module, String>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inner = || at.iter().cloned().chain([name.clone()]).collect::<Module>();
        if path.is_dir() {
            modules(&path, &inner(), found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let module = if ["mod", "lib", "main"].contains(&name.as_str()) { at.to_vec() } else { inner() };
            let text = fs::read_to_string(&path).unwrap();
            let tests =
                text.find("mod tests {").map_or(text.len(), |at| text[..at].rfind("#[cfg(test)]").unwrap_or(at));
            let code = &text[..tests];
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.insert(module, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The paths of `use` items in a text, braces written out: `(is it public, path, name it is known by)`.
fn uses(text: &str) -> Vec<(bool, Vec<String>, String)> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("use ") {
        let before = rest[..start].chars().next_back();
        let line = rest[..start].rsplit('\n').next().unwrap().trim();
        let end = rest[start..].find(';').map_or(rest.len(), |end| start + end);
        let item: String = rest[start + 4..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let is_item = before.is_none_or(char::is_whitespace) && (line.is_empty() || line.starts_with("pub"));
        if is_item {
            let mut paths = Vec::new();
            expand(&[], &item, &mut paths);
            all.extend(paths.into_iter().map(|(path, name)| (line.starts_with("pub"), path, name)));
            rest = &rest[end..];
        } else {
            rest = &rest[start + 4..];
        }
    }
    all
}

fn expand(prefix: &[String], item: &str, out: &mut Vec<(Vec<String>, String)>) {
    let item = item.trim();
    if let Some(open) = item.find('{') {
        let own = item[..open].trim_end_matches("::").split("::").filter(|s| !s.is_empty()).map(str::to_owned);
        let prefix: Vec<String> = prefix.iter().cloned().chain(own).collect();
        let (mut depth, mut from) = (0, 0);
        let inner = &item[open + 1..item.rfind('}').unwrap()];
        for (i, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[from..i].trim().is_empty() {
                        expand(&prefix, &inner[from..i], out);
                    }
                    from = i + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (path, alias) = item.split_once(" as ").map_or((item, None), |(path, alias)| (path, Some(alias)));
    let own = path.split("::").filter(|s| *s != "self" || prefix.is_empty()).map(|s| s.trim().to_owned());
    let whole: Vec<String> = prefix.iter().cloned().chain(own).collect();
    let name = alias.unwrap_or(whole.last().unwrap()).trim().to_owned();
    out.push((whole, name));
}

/// The module that defines what a path in `from` names; `None` outside of the crate.
fn target(from: &Module, path: &[String], all: &BTreeMap<Module, String>, depth: usize) -> Option<Module> {
    let (mut at, path): (Module, &[String]) = match path.first()?.as_str() {
        "crate" => (vec![], &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => {
            let up = path.iter().take_while(|s| *s == "super").count();
            (from[..from.len() - up].to_vec(), &path[up..])
        }
        first => {
            let child = from.iter().cloned().chain([first.to_owned()]).collect::<Module>();
            if !all.contains_key(&child) {
                return None;
            }
            (child, &path[1..])
        }
    };
    for (i, name) in path.iter().enumerate() {
        let child: Module = at.iter().cloned().chain([name.clone()]).collect();
        if all.contains_key(&child) {
            at = child;
            continue;
        }
        let reexports = uses(all.get(&at)?);
        let found = reexports.iter().find(|(public, _, known)| *public && known == name);
        if let Some((_, inner, _)) = found.filter(|_| depth < 8) {
            let inner: Vec<String> = inner.iter().chain(&path[i + 1..]).cloned().collect();
            return target(&at, &inner, all, depth + 1).or(Some(at));
        }
        break;
    }
    Some(at)
}

/// A circle of imports, if there is one.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    fn visit(
        at: &Module,
        imports: &BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = way.iter().position(|m| m == at) {
            way.drain(..start);
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.clone());
        for next in imports.get(at).into_iter().flatten() {
            if visit(next, imports, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(at.clone());
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|at| {
        let mut way = Vec::new();
        visit(at, imports, &mut way, &mut done).then(|| way.iter().map(|m| m.join("::")).collect())
    })
}

fn imports(all: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of = |(module, text): (&Module, &String)| {
        let paths = uses(text).into_iter().filter(|(public, ..)| !public).map(|(_, path, _)| path);
        let targets = paths.filter_map(|path| target(module, &path, all, 0)).filter(|to| to != module);
        (module.clone(), targets.collect())
    };
    all.iter().map(of).collect()
}

#[test]
fn no_files_of_the_library_import_each_other_in_a_circle() {
    let mut all = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut all);
    all.retain(|module, _| !module.contains(&"tests".to_owned()) && !module.contains(&"fake_engine".to_owned()));
    let imports = imports(&all);
    // What the check stands on: names that `search` re-exports are found where they are defined.
    let to = |from: &[&str], to: &[&str]| {
        let module = |path: &[&str]| path.iter().map(|s| (*s).to_owned()).collect::<Module>();
        imports[&module(from)].contains(&module(to))
    };
    assert!(to(&["search", "strategies", "hpe_darts"], &["search", "one_shot"]));
    assert!(to(&["search", "task"], &["run", "session"]) && !to(&["search", "task"], &["run"]));
    assert_eq!(circle(&imports), None);
}

#[test]
fn the_loop_knows_nothing_of_what_it_runs() {
    let mut all = BTreeMap::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut all);
    let foreign = ["search", "supernet", "data", "space", "proxy", "benchmark", "compare"];
    for (module, targets) in imports(&all).iter().filter(|(module, _)| module.first().is_some_and(|m| m == "run")) {
        let foreign: Vec<_> = targets.iter().filter(|to| foreign.contains(&to[0].as_str())).collect();
        assert!(foreign.is_empty(), "{module:?} imports {foreign:?}");
    }
}

#[test]
fn a_circle_is_found_through_a_name_that_is_re_exported() {
    let module = |path: &str| path.split("::").filter(|s| !s.is_empty()).map(str::to_owned).collect::<Module>();
    let texts = [
        ("", "mod a;\npub mod b;\n"),
        ("a", "use crate::{b::{Inner, other}, std};\n"),
        ("b", "mod inner;\npub use self::inner::Inner;\npub fn other() {}\n"),
        ("b::inner", "use super::super::a::Thing as Other;\n"),
    ];
    let all: BTreeMap<Module, String> = texts.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
    assert_eq!(circle(&imports(&all)), Some(vec!["a".to_owned(), "b::inner".to_owned()]));
}
