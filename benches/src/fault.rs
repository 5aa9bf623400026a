//! Why the harness itself could not go on. It owns no finding about the engine: those are violations, and they are
//! results, not errors.

use std::io;

/// Something outside the engine's promises went wrong: what, where, and the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and where.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// The engine did not start, did not end, or said something unexpected about itself.
    #[error("{0}")]
    Engine(String),
    /// A call to the sidecar failed on its way or was refused.
    #[error("{call}: {what}")]
    Rest {
        /// Method and path.
        call: String,
        /// What came back.
        what: String,
    },
    /// What was asked for cannot be run.
    #[error("{0}")]
    Usage(String),
    /// A message could not be built or read by the codec.
    #[error("a message of the harness: {0}")]
    Message(String),
    /// Results that were to be shown could not be read or drawn.
    #[error("{0}")]
    Results(String),
}

impl Fault {
    /// An I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Fault {
        let what = what.into();
        move |source| Fault::Io { what, source }
    }
}
