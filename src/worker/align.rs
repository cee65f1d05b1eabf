//! Brings the ports' receive-side scaling and leat's steering together.
//!
//! Each port is asked to hash with one key, random in each process, so that no stranger can aim at an lcore; and to deal the
//! entries of its redirection table out in turn. What it then tells is what counts, be it what it was asked for or not. The
//! first port whose scaling leat can follow is followed, and the ports after it are asked to do as that one does: a flow
//! may change the port that it comes by, and must not change its owner.

use std::sync::Arc;

use dpdk_wrapper::{HashFunctions, Port, RssConfig};

use super::deploy::DeployError;
use crate::steering::{Alignment, Rss, RssError, Steering, random_key};

/// What hashes IPv4's addresses and ports.
const FUNCTIONS: HashFunctions =
    HashFunctions::from_bits(HashFunctions::IPV4_TCP.bits() | HashFunctions::IPV4_UDP.bits());

/// The same in IPv6. A port that lacks them is followed all the same.
const FUNCTIONS_V6: HashFunctions =
    HashFunctions::from_bits(HashFunctions::IPV6_TCP.bits() | HashFunctions::IPV6_UDP.bits());

/// Bytes of a hash key where the port does not say.
const USUAL_KEY: usize = 40;

/// Why leat does not follow a port.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error("it has {0} receive queues for {1} lcores")]
    Queues(u16, u16),
    #[error("it does not hash the ports of both TCP and UDP over IPv4")]
    Functions,
    #[error("it does not tell its hash key")]
    Key,
    #[error("it does not tell its redirection table")]
    Table,
    #[error("it does not spread packets as port {0} does")]
    Differs(String),
    #[error(transparent)]
    Rss(#[from] RssError),
    #[error(transparent)]
    Dpdk(#[from] dpdk_wrapper::Error),
}

/// What ports are asked to do.
struct Wish {
    key: Vec<u8>,
    table: Vec<u16>,
}

/// A port that is followed.
struct Leader {
    name: String,
    rss: Arc<Rss>,
}

/// How `lcores` lcores shall share the flows that come by `ports`, which have been started, and how each port does then.
/// What cannot be aligned works by handing over, and the log says why.
///
/// # Errors
///
/// When a port does not say what it is, or the operating system has no randomness.
pub(super) fn align(ports: &mut [Port], lcores: u16) -> Result<(Steering, Vec<Alignment>), DeployError> {
    if lcores == 1 {
        return Ok((Steering::Modulo { workers: 1 }, vec![Alignment::Single; ports.len()]));
    }
    let mut wish = Wish { key: random_key()?.to_vec(), table: (0..lcores).collect() };
    let mut leader: Option<Leader> = None;
    let mut followed = Vec::new();
    for port in ports {
        let name = port.info()?.name;
        let rss = ask(port, &wish, lcores).and_then(|(rss, told)| match &leader {
            Some(leader) if !leader.rss.agrees_with(&rss) => Err(Misfit::Differs(leader.name.clone())),
            _ => Ok((rss, told)),
        });
        followed.push(rss.is_ok());
        match rss {
            Ok((rss, told)) => {
                log::info!("port {name}: its RSS brings TCP and UDP to the lcores that own their connections");
                if !rss.has_v6() {
                    log::info!(
                        "port {name}: packets of IPv6 for another lcore are handed over, because its RSS cannot be followed there"
                    );
                }
                if leader.is_none() {
                    leader = Some(Leader { name, rss: Arc::new(rss) });
                    wish = told;
                }
            }
            Err(why) => log::info!("port {name}: packets for another lcore are handed over, because {why}"),
        }
    }
    let otherwise = if leader.is_some() { Alignment::HandOver } else { Alignment::Modulo };
    let alignments = followed.iter().map(|followed| if *followed { Alignment::Rss } else { otherwise }).collect();
    let steering = leader.map_or(Steering::Modulo { workers: lcores }, |leader| Steering::Rss(leader.rss));
    Ok((steering, alignments))
}

/// Asks `port` for what `wish` says, and returns what it does.
fn ask(port: &mut Port, wish: &Wish, lcores: u16) -> Result<(Rss, Wish), Misfit> {
    let info = port.info()?;
    if info.max_rx_queues < lcores {
        return Err(Misfit::Queues(info.max_rx_queues, lcores));
    }
    if !info.hash_functions.contains(FUNCTIONS) {
        return Err(Misfit::Functions);
    }
    if info.table_len == 0 {
        return Err(Misfit::Table);
    }
    let key_len = if info.hash_key_len == 0 { USUAL_KEY } else { info.hash_key_len };
    let key = wish.key.iter().copied().cycle().take(key_len).collect();
    let table: Vec<u16> = wish.table.iter().copied().cycle().take(info.table_len).collect();
    // A port that refuses may do something that can be followed nevertheless.
    for refusal in
        [port.set_hash(&RssConfig { key: Some(key), ..RssConfig::default() }), port.set_redirection_table(&table)]
    {
        if let Err(error) = refusal {
            log::debug!("{error}");
        }
    }
    let told = port.rss()?;
    let key = told.key.ok_or(Misfit::Key)?;
    if !told.functions.is_some_and(|functions| functions.contains(FUNCTIONS)) {
        return Err(Misfit::Functions);
    }
    let hashes_v6 = told.functions.is_some_and(|functions| functions.contains(FUNCTIONS_V6));
    let told = Wish { key, table: told.table.ok_or(Misfit::Table)? };
    let rss = Rss::new(&told.key, &told.table, lcores)?;
    Ok((if hashes_v6 { rss } else { rss.without_v6() }, told))
}
