//! What a run says: a line a fault, and rows of the table in `docs/reliability.md`. Pure.

use std::time::Duration;

use rig::judge::{Counts, Findings, Promise};

/// Where the table begins and ends in the document.
const BEGIN: &str = "<!-- faults: begin -->";
const END: &str = "<!-- faults: end -->";
const HEAD: &str = "| fault | requests | blocks | failed | excused | wrong | left | recovered | paused | memory | figures | promises |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// One fault, judged.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What was broken.
    pub(crate) title: &'static str,
    /// What clients saw.
    pub(crate) findings: Findings,
    /// Most memory that a process of the product has held, in MiB.
    pub(crate) memory_mib: u64,
    /// Figures worth telling.
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// Whether every promise held.
    #[must_use]
    pub(crate) fn held(&self) -> bool {
        self.findings.broken.is_empty()
    }

    fn promises(&self) -> String {
        let broken = |promise: &Promise| self.findings.broken.iter().any(|(other, _)| other == promise);
        let words: Vec<&str> = Promise::ALL.iter().filter(|p| broken(p)).map(|p| p.word()).collect();
        if words.is_empty() { "held".to_owned() } else { format!("**BROKEN: {}**", words.join(", ")) }
    }

    /// A row of the table.
    #[must_use]
    pub(crate) fn markdown(&self) -> String {
        let Findings { total, left, told, recovered, paused, .. } = &self.findings;
        let Counts { requests, blocks, cut, wrong, .. } = total;
        let failed = total.failed + cut;
        let told = told.map(|told| format!("cut told in {}", millis(told)));
        let left = left.map_or("–".to_owned(), millis);
        let recovered = recovered.map_or("never".to_owned(), millis);
        let Self { title, memory_mib, .. } = self;
        let (paused, promises) = (millis(*paused), self.promises());
        let notes = told.into_iter().chain(self.notes.iter().cloned()).collect::<Vec<_>>().join("; ");
        format!(
            "| {title} | {requests} | {blocks} | {failed} | {cut} | {wrong} | {left} | {recovered} | {paused} | \
             {memory_mib} MiB | {notes} | {promises} |\n"
        )
    }

    /// Lines for a terminal.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let Findings { total, left, told, recovered, paused, broken, last, .. } = &self.findings;
        let Counts { requests, blocks, cut, wrong, .. } = total;
        let failed = total.failed + cut;
        let left = left.map_or(String::new(), |left| format!(", out of rotation in {}", millis(left)));
        let told = told.map_or(String::new(), |told| format!(", what was cut was told so in {}", millis(told)));
        let recovered = recovered.map_or("never recovered".to_owned(), |time| format!("recovered in {}", millis(time)));
        let mut text = format!(
            "   {}  {requests} requests, {blocks} blocks; {failed} failed, {cut} of them excused; {wrong} wrong{left}{told}, \
             {recovered}, paused {}, {} MiB\n",
            if self.held() { "held" } else { "BROKEN" },
            millis(*paused),
            self.memory_mib,
        );
        for note in self.notes.iter().chain(last) {
            text += &format!("         {note}\n");
        }
        for (promise, why) in broken {
            text += &format!("         {}: {why}\n", promise.word());
        }
        text
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The document with these rows in its table: a row takes the place of the one with its title, all in the order of
/// `titles`.
///
/// # Errors
/// If the document has no place for the table.
pub(crate) fn update(document: &str, rows: &[Row], titles: &[&str]) -> Result<String, String> {
    let lacks = || format!("the document lacks {BEGIN} or {END}");
    let (before, rest) = document.split_once(BEGIN).ok_or_else(lacks)?;
    let (old, after) = rest.split_once(END).ok_or_else(lacks)?;
    let mut table = String::from(HEAD);
    for title in titles {
        let begins = format!("| {title} |");
        match rows.iter().find(|row| row.title == *title) {
            Some(row) => table += &row.markdown(),
            None => table.extend(old.lines().filter(|line| line.starts_with(&begins)).map(|line| format!("{line}\n"))),
        }
    }
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(title: &'static str, broken: Vec<(Promise, String)>) -> Row {
        let findings = Findings {
            total: Counts { requests: 100, blocks: 20, cut: 2, ..Counts::default() },
            left: Some(Duration::from_millis(300)),
            recovered: Some(Duration::from_millis(900)),
            broken,
            ..Findings::default()
        };
        Row { title, findings, memory_mib: 40, notes: Vec::new() }
    }

    #[test]
    fn a_row_names_the_promises_that_did_not_hold() {
        assert!(row("x", Vec::new()).markdown().ends_with("| held |\n"));
        let broken = row("x", vec![(Promise::Left, "late".to_owned()), (Promise::Left, "later".to_owned())]);
        assert!(broken.markdown().ends_with("| **BROKEN: left** |\n"), "{}", broken.markdown());
        assert!(broken.text().contains("left: late\n"), "{}", broken.text());
        assert!(!broken.held());
    }

    #[test]
    fn new_rows_take_the_place_of_old_ones_and_the_rest_stays() {
        let document = format!("text\n{BEGIN}\n{HEAD}| b | old |\n| gone | old |\n| c | kept |\n{END}\nmore\n");
        let updated = update(&document, &[row("b", Vec::new()), row("a", Vec::new())], &["a", "b", "c"]);
        let updated = updated.expect("it has a place");
        let rows: Vec<&str> = updated.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows[0].starts_with("| a | 100 |") && rows[1].starts_with("| b | 100 |"), "{rows:?}");
        assert_eq!(rows[2..], ["| c | kept |"]);
        assert!(updated.starts_with("text\n") && updated.ends_with("\nmore\n"));
        assert!(update("nothing", &[], &[]).is_err());
    }
}
