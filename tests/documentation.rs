//! That the documentation leads where it says, and that its examples are accepted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leat::config::file;

/// Every page for readers: those at the root, and all below `docs`.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = documents("md");
    pages.extend(read(fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()), "md"));
    assert!(pages.len() >= 5, "{pages:?}");
    pages
}

/// Every file below `docs` whose name ends in `extension`.
fn documents(extension: &str) -> Vec<(PathBuf, String)> {
    read(below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).into_iter(), extension)
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

fn read(paths: impl Iterator<Item = PathBuf>, extension: &str) -> Vec<(PathBuf, String)> {
    let wanted = paths.filter(|path| path.extension().is_some_and(|has| has == extension));
    wanted.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// An example may be of nat on one network, and its page says what that needs.
fn is_expected(warning: &str) -> bool {
    warning.contains("in mode nat on one network")
}

#[track_caller]
fn assert_accepted(place: &Path, text: &str) {
    let loaded = file::load("example.toml", text.as_bytes());
    let mut warnings = loaded.unwrap_or_else(|failure| panic!("{}: {failure}", place.display())).warnings;
    warnings.retain(|warning| !is_expected(warning));
    assert_eq!(warnings, [""; 0], "{}", place.display());
}

/// The name that a heading has in links: lower case, words joined by `-`.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    heading.trim().to_lowercase().chars().filter(kept).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_link_to_a_page_or_a_heading_leads_somewhere() {
    let mut links = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let there =
                fs::read_to_string(&target).unwrap_or_else(|error| panic!("{}: {link}: {error}", page.display()));
            if let Some(heading) = heading {
                let found = there
                    .lines()
                    .filter(|line| line.starts_with("##"))
                    .any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(found, "{}: {link}: there is no such heading", page.display());
            }
        }
    }
    assert!(links > 10, "only {links} links were found");
}

#[test]
fn every_configuration_that_is_shown_is_accepted() {
    let mut examples = 0;
    for (page, text) in pages() {
        for example in text.split("\n```toml\n").skip(1).filter_map(|rest| rest.split_once("\n```")) {
            examples += 1;
            assert_accepted(&page, example.0);
        }
    }
    for (path, text) in documents("toml") {
        examples += 1;
        assert_accepted(&path, &text);
    }
    assert!(examples >= 3, "only {examples} examples were found");
}
