use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Version of the format of `events.jsonl`.
pub const EVENTS_VERSION: u32 = 1;

/// The fields of one kind of event. Whoever has something to record defines its kind; nothing else needs to know it.
///
/// Nothing in an event depends on the machine's speed or the time of day, so that the file of a resumed run equals that of one
/// that was never stopped; see `docs/events.md` for every kind.
pub trait Fields: Serialize + DeserializeOwned {
    /// Its name in `events.jsonl`.
    const KIND: &'static str;
}

/// A line of `events.jsonl`: a kind and its fields. Readers pass over kinds and fields they do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What kind of event it is.
    #[serde(rename = "event")]
    pub kind: String,
    /// Everything else of the line.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Event {
    /// The event that these fields make.
    pub fn new<F: Fields>(fields: &F) -> Self {
        // A kind of event is a struct of numbers, strings and lists, which always is an object of JSON.
        let Ok(Value::Object(fields)) = serde_json::to_value(fields) else { unreachable!("{} is a struct", F::KIND) };
        Self { kind: F::KIND.to_owned(), fields }
    }

    /// The fields, if it is of this kind and has them all.
    pub fn read<F: Fields>(&self) -> Option<F> {
        if self.kind != F::KIND {
            return None;
        }
        serde_json::from_value(Value::Object(self.fields.clone())).ok()
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}

/// The run was stopped by an error; a resumed run takes this line away again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Step in the epoch, counted from 1; 0 outside of steps.
    pub step: usize,
    /// What.
    pub message: String,
}

impl Fields for Failed {
    const KIND: &'static str = "failed";
}

/// A phase ended before its last epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyEnd {
    /// The phase's last epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Whether the whole run ends with it.
    pub finished: bool,
    /// Why.
    pub reason: String,
}

impl Fields for EarlyEnd {
    const KIND: &'static str = "early_end";
}

/// Last line of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Epochs.
    pub epochs: usize,
    /// Steps of the weights.
    pub steps: usize,
}

impl Fields for End {
    const KIND: &'static str = "end";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written_and_unknown_ones_are_passed_over() {
        let end = End { epochs: 3, steps: 12 };
        let line = serde_json::to_string(&Event::new(&end)).unwrap();
        assert_eq!(line, r#"{"event":"end","epochs":3,"steps":12}"#);
        let event: Event = serde_json::from_str(&line).unwrap();
        assert_eq!(event.read::<End>(), Some(end));
        assert_eq!(event.read::<Failed>(), None);
        let other: Event = serde_json::from_str(r#"{"event":"eclipse","depth":0.1,"ops":[["a"]]}"#).unwrap();
        assert_eq!((other.kind.as_str(), other.field("depth").unwrap().as_f64()), ("eclipse", Some(0.1)));
        assert_eq!(serde_json::to_string(&other).unwrap(), r#"{"event":"eclipse","depth":0.1,"ops":[["a"]]}"#);
    }
}
