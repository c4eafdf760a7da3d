use std::path::PathBuf;

/// What belongs to the machine that a run goes on at, not to the run.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The program's folder in the user's data directory.
    pub home: Option<PathBuf>,
    /// Folder or archive of the data, in place of the one that the run began with. Other data than that are refused.
    pub data: Option<PathBuf>,
    /// Threads, in place of those that the run began with.
    pub threads: Option<usize>,
}

impl Here {
    /// Puts what is given here in the place of a configuration's.
    pub(crate) fn replace(&self, data: &mut Option<PathBuf>, threads: &mut Option<usize>) {
        if self.data.is_some() {
            data.clone_from(&self.data);
        }
        *threads = self.threads.or(*threads);
    }
}
