//! Changes to the configuration that runs, one at a time, as an operator asks for them.
//!
//! An [`Edit`] makes of one [`Config`] another, by the same rules as a file's: what is added is written as a file and read
//! again. What an edit changed lasts until the next one, or until the file is read again: the file wins.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::Value;

use crate::config::emit::{emit, quoted};
use crate::config::{Config, file};
use crate::flow::{Endpoint, split_endpoint};

/// What the configuration that runs is called in messages about it.
const RUNNING: &str = "configuration";

/// A backend of a service, as people name it: its address, and its port where that is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BackendName {
    address: IpAddr,
    port: Option<u16>,
}

impl FromStr for BackendName {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let malformed = || EditError::BackendName { text: text.to_owned() };
        let (address, port) = split_endpoint(text).ok_or_else(malformed)?;
        Ok(Self { address: address.parse().map_err(|_| malformed())?, port })
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Another weight for a backend; 0 drains it.
    SetWeight {
        /// The service's name.
        service: String,
        /// Which backend.
        backend: String,
        /// The weight.
        weight: u16,
    },
    /// No new connections for a backend. Those that it has go on.
    Drain {
        /// The service's name.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// New connections again for a backend that was drained, by the weight that it had before.
    Enable {
        /// The service's name.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// A new backend: the keys of the file's `[[service.backend]]`.
    AddBackend {
        /// The service's name.
        service: String,
        /// The keys.
        keys: Value,
    },
    /// A backend less. Connections that it has go on.
    RemoveBackend {
        /// The service's name.
        service: String,
        /// Which backend.
        backend: String,
    },
    /// A new service: the keys of the file's `[[service]]`, with its backends as a list `backend`.
    AddService {
        /// The keys.
        keys: Value,
    },
    /// A service less. Connections that it has go on.
    RemoveService {
        /// Its name.
        service: String,
    },
}

impl fmt::Display for Edit {
    /// What is so afterwards.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was asked for is a client's own text: it stays on one line.
        let name = |keys: &Value, key: &str| keys[key].as_str().unwrap_or("?").escape_debug().to_string();
        match self {
            Self::SetWeight { service, backend, weight } => {
                write!(f, "service {service}: backend {backend} has weight {weight}")
            }
            Self::Drain { service, backend } => write!(f, "service {service}: backend {backend} is drained"),
            Self::Enable { service, backend } => write!(f, "service {service}: backend {backend} is enabled"),
            Self::AddBackend { service, keys } => {
                write!(f, "service {service}: backend {} is added", name(keys, "address"))
            }
            Self::RemoveBackend { service, backend } => write!(f, "service {service}: backend {backend} is removed"),
            Self::AddService { keys } => write!(f, "service {} is added", name(keys, "vip")),
            Self::RemoveService { service } => write!(f, "service {service} is removed"),
        }
    }
}

/// Why an edit cannot be made. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is no such service.
    #[error("there is no service {name:?}; there is {there_is}")]
    NoService {
        /// What was asked for.
        name: String,
        /// What there is.
        there_is: String,
    },
    /// The service has no such backend.
    #[error("service {service:?} has no backend {backend}; it has {there_is}")]
    NoBackend {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// What there is.
        there_is: String,
    },
    /// It is not clear which backend is meant.
    #[error("service {service:?} has several backends at {backend}; name its port, as {example}")]
    SeveralBackends {
        /// The service.
        service: String,
        /// What was asked for.
        backend: String,
        /// One of them.
        example: String,
    },
    /// That is no name of a backend.
    #[error("{text:?} does not name a backend; write ADDR or ADDR:PORT")]
    BackendName {
        /// What was given.
        text: String,
    },
    /// It breaks a rule.
    #[error("{message}")]
    Invalid {
        /// Which one, in the words of the configuration.
        message: String,
    },
}

impl EditError {
    /// Whether it asks for what is not there.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::NoService { .. } | Self::NoBackend { .. })
    }
}

/// Makes edits, and knows the weights of those that were drained.
#[derive(Debug, Default)]
pub struct Editor {
    drained: HashMap<(String, IpAddr, u16), u16>,
}

impl Editor {
    /// The configuration that `edit` makes of `config`.
    ///
    /// # Errors
    ///
    /// As [`EditError`] says.
    pub fn edit(&mut self, config: &Config, edit: &Edit) -> Result<Config, EditError> {
        let mut config = config.clone();
        match edit {
            Edit::SetWeight { service, backend, weight } => {
                let (service, backend) = find(&config, service, backend)?;
                config.services[service].backends[backend].weight = *weight;
            }
            Edit::Drain { service: name, backend } => {
                let (service, backend) = find(&config, name, backend)?;
                let backend = &mut config.services[service].backends[backend];
                if backend.weight != 0 {
                    self.drained.insert((name.clone(), backend.address, backend.port), backend.weight);
                    backend.weight = 0;
                }
            }
            Edit::Enable { service: name, backend } => {
                let (service, backend) = find(&config, name, backend)?;
                let backend = &mut config.services[service].backends[backend];
                let before = self.drained.remove(&(name.clone(), backend.address, backend.port));
                if backend.weight == 0 {
                    backend.weight = before.unwrap_or(1);
                }
            }
            Edit::RemoveBackend { service, backend } => {
                let (service, backend) = find(&config, service, backend)?;
                config.services[service].backends.remove(backend);
            }
            Edit::RemoveService { service } => {
                let service = find_service(&config, service)?;
                config.services.remove(service);
            }
            Edit::AddBackend { service, keys } => {
                let service = find_service(&config, service)?;
                let mut tried = config.clone();
                // The backend is written last, so its service must be the last one.
                let moved = tried.services.remove(service);
                tried.services.push(moved);
                let text = format!("{}\n[[service.backend]]\n{}", emit_whole(&tried), table(keys)?);
                let mut read = load(&text)?;
                let backend = read.services.pop().and_then(|mut service| service.backends.pop());
                config.services[service].backends.extend(backend);
            }
            Edit::AddService { keys } => {
                let text = format!("{}\n[[service]]\n{}", emit_whole(&config), table(keys)?);
                config.services.extend(load(&text)?.services.pop());
            }
        }
        Ok(config)
    }
}

/// As a file. Own addresses without an interface, which a file cannot have, are given to a port so that the rules about them
/// can be applied; the command line that brings them has no interfaces.
fn emit_whole(config: &Config) -> String {
    let mut config = config.clone();
    let addresses: Vec<_> = std::mem::take(&mut config.addresses).iter().map(|it| quoted(&it.to_string())).collect();
    let text = emit(&config);
    if addresses.is_empty() {
        return text;
    }
    let interface = format!("[[interface]]\nport = 0\naddresses = [{}]\n", addresses.join(", "));
    let services = text.find("\n[[service]]").unwrap_or(text.len());
    format!("{}\n{interface}{}", &text[..services], &text[services..])
}

fn load(text: &str) -> Result<Config, EditError> {
    let loaded = file::load(RUNNING, text.as_bytes());
    loaded.map(|loaded| loaded.config).map_err(|failure| {
        let lines = failure.message.lines().map(|line| line.strip_prefix("leat: ").unwrap_or(line));
        // Where in the text that was made up for this it stands helps nobody.
        let lines = lines.map(|line| {
            let place = line.strip_prefix(RUNNING).and_then(|rest| rest.split_once(": "));
            place.map_or(line, |(_, message)| message)
        });
        EditError::Invalid { message: lines.collect::<Vec<_>>().join("\n") }
    })
}

/// A JSON object as the lines of a TOML table. Lists of objects become inline tables, which TOML takes as well.
fn table(keys: &Value) -> Result<String, EditError> {
    let Value::Object(keys) = keys else {
        return Err(EditError::Invalid {
            message: "write a JSON object with the keys of the configuration file".to_owned(),
        });
    };
    Ok(keys.iter().map(|(key, value)| format!("{} = {}\n", quoted(key), inline(value))).collect())
}

fn inline(value: &Value) -> String {
    match value {
        // TOML has nothing for it: it is refused as a string where it does not belong.
        Value::Null => "\"null\"".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(keys) => {
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
    }
}

fn find_service(config: &Config, name: &str) -> Result<usize, EditError> {
    config.services.iter().position(|service| service.name == name).ok_or_else(|| EditError::NoService {
        name: name.to_owned(),
        there_is: listed(config.services.iter().map(|service| service.name.clone())),
    })
}

fn find(config: &Config, service: &str, backend: &str) -> Result<(usize, usize), EditError> {
    let name: BackendName = backend.parse()?;
    let at = find_service(config, service)?;
    let backends = &config.services[at].backends;
    let shown = |address, port| Endpoint(address, port).to_string();
    let is_it =
        |it: &crate::config::Backend| it.address == name.address && name.port.is_none_or(|port| port == it.port);
    let mut found = (0..backends.len()).filter(|number| is_it(&backends[*number]));
    match (found.next(), found.next()) {
        (Some(number), None) => Ok((at, number)),
        (Some(number), Some(_)) => Err(EditError::SeveralBackends {
            service: service.to_owned(),
            backend: backend.to_owned(),
            example: shown(backends[number].address, backends[number].port),
        }),
        (None, _) => Err(EditError::NoBackend {
            service: service.to_owned(),
            backend: backend.to_owned(),
            there_is: listed(backends.iter().map(|it| shown(it.address, it.port))),
        }),
    }
}

/// A few of `names`, for a message.
fn listed(names: impl Iterator<Item = String>) -> String {
    const MOST: usize = 8;
    let names: Vec<_> = names.collect();
    match names.len() {
        0 => "none".to_owned(),
        few if few <= MOST => names.join(", "),
        many => format!("{} and {} more", names[..MOST].join(", "), many - MOST),
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
