//! That the documentation leads where it says, and that its examples are accepted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use leat::config::file;

/// Every page for readers.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.to_owned(), root.join("docs")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let pages: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(pages.len() >= 5, "{pages:?}");
    pages
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
            let loaded = file::load("example.toml", example.0.as_bytes());
            let loaded = loaded.unwrap_or_else(|failure| panic!("{}: {failure}", page.display()));
            assert_eq!(loaded.warnings, [""; 0], "{}", page.display());
        }
    }
    assert!(examples >= 1, "no example was found");
}
