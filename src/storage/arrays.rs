//! Rows as parameters of one statement: an array for each column, made rows by `unnest`.

/// `SELECT` of rows with these columns (name, type), whose arrays are the parameters from this number on.
///
/// `OFFSET 0` keeps the planner from seeing how long the arrays are: it would find that a plan made for just so many rows
/// is the cheapest, make one for each statement, and spend more on that than on carrying it out.
pub(super) fn rows_of(first: usize, columns: &[(&str, &str)]) -> String {
    let arrays = columns
        .iter()
        .zip(first..)
        .map(|((name, of), number)| format!("${number}::{of}[] AS {name}"));
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    format!(
        "SELECT w.* FROM (SELECT {arrays} OFFSET 0) AS given, unnest({given}) AS w ({names})",
        arrays = arrays.collect::<Vec<_>>().join(", "),
        given = format_args!("given.{}", names.join(", given.")),
        names = names.join(", "),
    )
}

/// Lists of texts in one array, as arrays of arrays do not exist in SQL: the n-th list is `all[from:to]`, counted from 1
/// as SQL does.
#[derive(Default)]
pub(super) struct Slices {
    pub(super) all: Vec<String>,
    pub(super) from: Vec<i32>,
    pub(super) to: Vec<i32>,
}

impl Slices {
    pub(super) fn push(&mut self, texts: Vec<String>) {
        let end = |texts: &Vec<String>| i32::try_from(texts.len()).unwrap_or(i32::MAX);
        self.from.push(end(&self.all).saturating_add(1));
        self.all.extend(texts);
        self.to.push(end(&self.all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_of_numbered_arrays() {
        assert_eq!(
            rows_of(3, &[("id", "uuid"), ("lease", "double precision")]),
            "SELECT w.* FROM (SELECT $3::uuid[] AS id, $4::double precision[] AS lease OFFSET 0) AS given, \
             unnest(given.id, given.lease) AS w (id, lease)"
        );
    }

    #[test]
    fn lists_lie_one_after_the_other_and_empty_ones_between_them() {
        let mut slices = Slices::default();
        for texts in [vec!["a", "b"], vec![], vec!["c"]] {
            slices.push(texts.into_iter().map(str::to_owned).collect());
        }
        assert_eq!(slices.all, ["a", "b", "c"]);
        assert_eq!((slices.from, slices.to), (vec![1, 3, 3], vec![2, 2, 3]));
    }
}
