//! Pieces of Python.

/// Width of a line.
const WIDTH: usize = 120;

/// Modules by their dotted names.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// What makes it, if it is a module.
    made: Option<String>,
    /// What is below it, in the order of insertion.
    below: Vec<(String, Tree)>,
}

impl Tree {
    pub(super) fn insert(&mut self, name: &str, made: String) {
        let mut at = self;
        for part in name.split('.') {
            let place = at.below.iter().position(|(name, _)| name == part).unwrap_or_else(|| {
                at.below.push((part.to_owned(), Tree::default()));
                at.below.len() - 1
            });
            at = &mut at.below[place].1;
        }
        at.made = Some(made);
    }

    /// `self.name = ...` for each of them, in a method.
    pub(super) fn assignments(&self) -> String {
        let lines = self.below.iter().map(|(name, tree)| format!("        self.{name} = {}\n", tree.expression(8)));
        lines.collect()
    }

    fn expression(&self, indent: usize) -> String {
        if let Some(made) = &self.made {
            return made.clone();
        }
        let (inner, end) = (" ".repeat(indent + 4), " ".repeat(indent));
        let is_list = self.below.iter().enumerate().all(|(i, (name, _))| *name == i.to_string());
        let parts = self.below.iter().map(|(name, tree)| {
            let made = tree.expression(indent + 4);
            if is_list { format!("{inner}{made},\n") } else { format!("{inner}{name}={made},\n") }
        });
        let parts: String = parts.collect();
        if is_list { format!("nn.ModuleList([\n{parts}{end}])") } else { format!("Named(\n{parts}{end})") }
    }
}

/// A module by its dotted name: `self.stages[0].cells[1]`.
pub(super) fn path(name: &str) -> String {
    name.split('.').fold("self".to_owned(), |path, part| {
        if part.bytes().all(|b| b.is_ascii_digit()) { format!("{path}[{part}]") } else { format!("{path}.{part}") }
    })
}

/// A docstring.
pub(super) fn quoted(text: &str) -> String {
    format!("\"\"\"{text}\"\"\"")
}

/// Texts in lines.
pub(super) fn list(texts: &[String]) -> String {
    // A string of JSON is one of Python.
    let texts: Vec<String> = texts.iter().map(|text| serde_json::Value::from(text.as_str()).to_string()).collect();
    let whole = format!("[{}]", texts.join(", "));
    if whole.len() + 10 <= WIDTH {
        return whole;
    }
    let mut lines = vec![String::new()];
    for text in texts {
        let last = lines.last().map_or(0, String::len);
        if last > 0 && last + text.len() + 6 > WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            *line += if line.is_empty() { "    " } else { " " };
            *line += &format!("{text},");
        }
    }
    format!("[\n{}\n]", lines.join("\n"))
}
