//! What was read from the catalogue lately, given again while nothing was written.
//!
//! For the few reads that clients repeat all the time: whose key it is, and the list of images. Everything else reads the
//! catalogue. What is decided in a transaction (a launch, a share, a limit) never looks here.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_catalog::Catalog;

/// How long an answer is given again at most: a person who mends the database by hand sees it soon.
const LONGEST: Duration = Duration::from_secs(1);

/// Answers by what was asked.
pub(crate) struct Recent<K, V> {
    answers: Mutex<HashMap<K, Kept<V>>>,
    most: usize,
}

struct Kept<V> {
    age: Age,
    answer: Arc<V>,
}

/// The state of the catalogue that an answer is of. Taken before the answer is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Age {
    generation: u64,
    since: Instant,
}

impl Age {
    /// The present state.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        Self { generation: catalog.generation(), since: Instant::now() }
    }

    fn holds_at(self, now: Self) -> bool {
        self.generation == now.generation && now.since.saturating_duration_since(self.since) < LONGEST
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// Keeps `most` answers.
    pub(crate) fn new(most: usize) -> Self {
        Self { answers: Mutex::default(), most }
    }

    /// What was answered to the same question, where that is still true.
    pub(crate) fn get(&self, asked: &K, now: Age) -> Option<Arc<V>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = answers.get(asked)?;
        kept.age.holds_at(now).then(|| Arc::clone(&kept.answer))
    }

    /// Keeps what was read after `age` was taken.
    pub(crate) fn keep(&self, asked: K, age: Age, answer: V) -> Arc<V> {
        let answer = Arc::new(answer);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.most {
            answers.retain(|_, kept| kept.age.holds_at(age));
        }
        if answers.len() < self.most {
            answers.insert(asked, Kept { age, answer: Arc::clone(&answer) });
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(generation: u64, since: Instant) -> Age {
        Age { generation, since }
    }

    #[test]
    fn an_answer_is_given_until_something_is_written_or_it_is_old() {
        let (recent, start) = (Recent::new(2), Instant::now());
        assert!(recent.get(&"a", age(1, start)).is_none());
        recent.keep("a", age(1, start), "first");
        assert_eq!(recent.get(&"a", age(1, start)).as_deref(), Some(&"first"));
        assert!(recent.get(&"b", age(1, start)).is_none());
        assert!(recent.get(&"a", age(2, start)).is_none(), "something was written");
        assert!(recent.get(&"a", age(1, start + LONGEST)).is_none(), "it is old");
    }

    #[test]
    fn no_more_are_kept_than_allowed_and_stale_ones_make_room() {
        let (recent, now) = (Recent::new(2), Instant::now());
        for asked in ["a", "b", "c"] {
            recent.keep(asked, age(1, now), asked);
        }
        assert!(recent.get(&"c", age(1, now)).is_none(), "there was no room");
        recent.keep("c", age(2, now), "c");
        assert!(recent.get(&"c", age(2, now)).is_some());
        assert_eq!(recent.answers.lock().expect("not poisoned").len(), 1);
    }
}
