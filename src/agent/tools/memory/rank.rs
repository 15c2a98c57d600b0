//! Passages by how well they fit a query.
//!
//! Rare words count more than common ones, a word that stands twice counts little more than once, and words
//! with the same beginning count in part, so that `cats` finds `cat`. Scores are between 0 and 1: the share
//! of the query's weight that a passage holds.

use std::collections::{BTreeMap, BTreeSet};

/// Words of a query that are looked for.
const MAX_WORDS: usize = 32;
/// Characters that two words have to begin with together, to count as related.
const STEM: usize = 3;
/// What a related word counts.
const RELATED: f64 = 0.6;

/// Lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    pub path: String,
    /// Counted from 1.
    pub first: usize,
    pub lines: usize,
    pub text: String,
}

/// The passages that hold a word of `query`, best first; of equal ones, in their order.
pub fn best(query: &str, passages: Vec<Passage>) -> Vec<(f64, Passage)> {
    let wanted: BTreeSet<String> = words(query).into_iter().take(MAX_WORDS).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let counts: Vec<Vec<f64>> = passages.iter().map(|p| count(&wanted, &p.text)).collect();
    let weights: Vec<f64> = (0..wanted.len())
        .map(|w| {
            let with = counts.iter().filter(|c| c[w] > 0.0).count() as f64;
            (1.0 + (passages.len() as f64 - with + 0.5) / (with + 0.5)).ln()
        })
        .collect();
    let all: f64 = weights.iter().sum();
    let score = |counts: &[f64]| {
        let parts = counts.iter().zip(&weights);
        // Saturates: 1 for many, a little less for one.
        parts
            .map(|(n, weight)| weight * n * 1.2 / (n + 0.2))
            .sum::<f64>()
            / all
    };
    let mut found: Vec<(f64, Passage)> = counts
        .iter()
        .map(|c| score(c).min(1.0))
        .zip(passages)
        .filter(|(score, _)| *score > 0.0)
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found
}

/// How often each of `wanted` is in `text`; a related word counts in part.
fn count(wanted: &BTreeSet<String>, text: &str) -> Vec<f64> {
    let mut here: BTreeMap<String, f64> = BTreeMap::new();
    for word in words(text) {
        *here.entry(word).or_default() += 1.0;
    }
    let of = |word: &String| {
        let exact = here.get(word).copied().unwrap_or_default();
        if exact > 0.0 {
            return exact;
        }
        let stem: String = word.chars().take(STEM).collect();
        let near = here
            .range(stem.clone()..)
            .take_while(|(w, _)| w.starts_with(&stem));
        match near.into_iter().any(|(w, _)| related(w, word)) {
            true => RELATED,
            false => 0.0,
        }
    };
    wanted.iter().map(of).collect()
}

/// Whether one of two words is the other with a short ending.
fn related(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.chars().count() >= STEM
        && long
            .strip_prefix(short)
            .is_some_and(|ending| ending.chars().count() <= 3)
}

/// The words of `text` in lower case; signs of scripts without blanks are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        let alone = matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}');
        if c.is_alphanumeric() && !alone {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if alone && c.is_alphanumeric() {
            words.push(c.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(query: &str, texts: &[&str]) -> Vec<usize> {
        let passage = |(n, text): (usize, &&str)| Passage {
            path: String::new(),
            first: n,
            lines: 1,
            text: text.to_string(),
        };
        let passages = texts.iter().enumerate().map(passage).collect();
        best(query, passages).iter().map(|(_, p)| p.first).collect()
    }

    #[test]
    fn rare_words_count_more_and_related_ones_less() {
        let texts = ["the dog", "the cats", "the cat", "the bird", "nothing"];
        assert_eq!(order("the cat", &texts), [2, 1, 0, 3]);
        assert_eq!(order("bird the the the", &texts)[0], 3);
        assert!(order("fish", &texts).is_empty());
        assert!(order("", &texts).is_empty());
        assert!(order("x", &[]).is_empty());
    }

    #[test]
    fn words_of_all_scripts() {
        assert_eq!(words("Größe: x_y 42-b"), ["größe", "x", "y", "42", "b"]);
        assert_eq!(words("猫はMimi"), ["猫", "は", "mimi"]);
        assert!(order("猫", &["犬", "黒い猫"]) == [1]);
        assert!(!related("cat", "catalogue") && related("cat", "cats") && !related("ca", "cat"));
    }

    #[test]
    fn a_score_is_a_share() {
        let passage = Passage {
            path: "f".into(),
            first: 1,
            lines: 1,
            text: "alpha beta ".repeat(50),
        };
        let (score, _) = best("alpha beta", vec![passage]).remove(0);
        assert!(score > 0.9 && score <= 1.0, "{score}");
    }
}
