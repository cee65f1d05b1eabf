//! Finds the system's libdpdk, makes Rust declarations of what `wrapper.h` names, and compiles DPDK's inline
//! functions. What is missing is told in one message that names the packages to install.

use std::{
    env,
    error::Error,
    panic,
    path::{Path, PathBuf},
    process::Command,
};

/// Functions that the wrapper calls. DPDK has thousands; each one less is one less to break between releases.
const FUNCTIONS: &[&str] = &[
    "dpdk_sys_errno",
    "dpdk_sys_link",
    "dpdk_sys_tel_add_dict_uint",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_init",
    "rte_eal_remote_launch",
    "rte_eal_wait_lcore",
    "rte_eth_allmulticast_(dis|en)able",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_(mtu|name_by_port|port_by_name)",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_(conf_get|update)",
    "rte_eth_dev_rss_reta_(query|update)",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_find_next_owned_by",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_(dis|en)able",
    "rte_eth_rx_burst",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_burst",
    "rte_eth_tx_queue_setup",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_get_main_lcore",
    "rte_get_next_lcore",
    "rte_get_tsc_cycles",
    "rte_get_tsc_hz",
    "rte_lcore_cpuset",
    "rte_lcore_to_socket_id",
    "rte_mempool_avail_count",
    "rte_mempool_in_use_count",
    "rte_pktmbuf_alloc",
    "rte_pktmbuf_alloc_bulk",
    "rte_pktmbuf_free",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_ring_count",
    "rte_ring_create_elem",
    "rte_ring_free",
    "rte_ring_sc_dequeue_burst_elem",
    "rte_ring_sp_enqueue_burst_elem",
    "rte_strerror",
    "rte_tel_data_(add_dict_(container|string)|alloc|free|start_dict)",
    "rte_telemetry_register_cmd",
    "rte_version",
];

/// Constants that the wrapper reads; those of `wrapper.h` all begin with `DPDK_SYS_`.
const CONSTANTS: &[&str] = &[
    "DPDK_SYS_.*",
    "RING_F_(EXACT_SZ|SC_DEQ|SP_ENQ)",
    "RTE_ETH_MQ_RX_(NONE|RSS)",
    "RTE_ETH_NAME_MAX_LEN",
    "RTE_ETH_RETA_GROUP_SIZE",
    "RTE_MAX_ETHPORTS",
    "RTE_MAX_LCORE",
    "RTE_MBUF_DEFAULT_BUF_SIZE",
    "RTE_MEMPOOL_CACHE_MAX_SIZE",
    "RTE_PKTMBUF_HEADROOM",
];

/// Types whose insides the wrapper never touches, or reaches by an offset.
const OPAQUE: &[&str] = &["rte_device", "rte_mbuf", "rte_mempool", "rte_memzone", "rte_ring"];

/// The packages that all of this takes, as Debian calls them.
const PACKAGES: &str = "on Debian: apt install libdpdk-dev pkg-config libclang-dev gcc";

fn main() {
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "LIBCLANG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper.h");
    if let Err(problem) = build() {
        for line in problem.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let version = pkg_config(&["--modversion"])?.concat();
    let cflags = pkg_config(&["--cflags"])?;
    let libs = pkg_config(&["--libs"])?;
    println!("cargo::rustc-env=DPDK_SYS_VERSION={version}");
    println!("cargo::metadata=version={version}");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this by cargo")?);
    let inline_functions = out.join("inline_functions.c");
    generate(&cflags, &inline_functions, &out.join("bindings.rs"))?;
    compile(&cflags, &inline_functions)?;
    link(&libs);
    Ok(())
}

/// Asks pkg-config itself: the flags must reach the compilers whole (`-march`, `-include rte_config.h`), and the
/// crate of that name keeps some of them to itself.
fn pkg_config(question: &[&str]) -> Result<Vec<String>, Box<dyn Error>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = Command::new(&program).args(question).arg("libdpdk").output().map_err(|error| {
        format!("{program} cannot be run ({error}), and without it libdpdk is not found\n{PACKAGES}")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} does not find libdpdk: {}\n{PACKAGES}", said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(str::to_owned).collect())
}

/// Writes the Rust declarations to `bindings`, and C functions around the inline ones to `inline_functions`.
fn generate(cflags: &[String], inline_functions: &Path, bindings: &Path) -> Result<(), Box<dyn Error>> {
    // bindgen panics when it finds no libclang, and has no other way to ask.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let clang = panic::catch_unwind(bindgen::clang_version);
    panic::set_hook(hook);
    if clang.is_err() {
        return Err(format!("bindgen does not find libclang (LIBCLANG_PATH can name its folder)\n{PACKAGES}").into());
    }

    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .rust_target(bindgen::RustTarget::stable(88, 0).map_err(|error| error.to_string())?)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_static_fns(true)
        .wrap_static_fns_path(inline_functions)
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false)
        .formatter(bindgen::Formatter::None);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    for opaque in OPAQUE {
        builder = builder.opaque_type(opaque);
    }
    let generated = builder
        .generate()
        .map_err(|error| format!("bindgen cannot read the headers of libdpdk: {error}\n{PACKAGES}"))?;
    generated.write_to_file(bindings)?;
    Ok(())
}

/// Compiles the inline functions, optimised in every profile: they are the packet path.
fn compile(cflags: &[String], inline_functions: &Path) -> Result<(), Box<dyn Error>> {
    cc::Build::new()
        .file(inline_functions)
        .include(env::var("CARGO_MANIFEST_DIR")?)
        .flags(cflags)
        .opt_level(3)
        .warnings(false)
        .try_compile("dpdk_sys_inline")
        .map_err(|error| format!("the C compiler cannot compile DPDK's inline functions: {error}\n{PACKAGES}").into())
}

/// Links what pkg-config lists. Most of it is unused: rustc links with `--as-needed`, which keeps only what is called.
fn link(libs: &[String]) {
    for flag in libs {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo::rustc-link-search=native={folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }
}
