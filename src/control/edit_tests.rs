use super::*;

use serde_json::json;

fn config() -> Config {
    let text = "[[interface]]\nport = 0\naddresses = [\"10.0.0.254/24\"]\n\
        [[service]]\nname = \"web\"\nvip = \"10.0.0.10\"\nport = 80\n\
        [[service.backend]]\naddress = \"10.0.0.2\"\nweight = 3\n\
        [[service.backend]]\naddress = \"10.0.0.3\"\n\
        [[service]]\nname = \"dns\"\nvip = \"10.0.0.10\"\nport = 53\nprotocol = \"udp\"\n\
        [[service.backend]]\naddress = \"10.0.0.4\"\n\
        [[service.backend]]\naddress = \"10.0.0.4\"\nport = 54\n";
    file::load("test", text.as_bytes()).unwrap_or_else(|error| panic!("{error}")).config
}

fn on(service: &str, backend: &str) -> (String, String) {
    (service.to_owned(), backend.to_owned())
}

fn weights(config: &Config, service: usize) -> Vec<u16> {
    config.services[service].backends.iter().map(|backend| backend.weight).collect()
}

#[test]
fn a_drained_backend_gets_its_weight_back() {
    let (mut editor, before) = (Editor::default(), config());
    let (service, backend) = on("web", "10.0.0.2");
    let drain = Edit::Drain { service: service.clone(), backend: backend.clone() };
    let drained = editor.edit(&before, &drain).unwrap();
    assert_eq!(weights(&drained, 0), [0, 1]);
    let again = editor.edit(&drained, &drain).unwrap();
    assert_eq!(weights(&again, 0), [0, 1]);
    let enabled = editor.edit(&again, &Edit::Enable { service, backend }).unwrap();
    assert_eq!(enabled, before);
}

#[test]
fn a_backend_that_was_drained_by_the_file_is_enabled_with_weight_one() {
    let mut before = config();
    before.services[0].backends[0].weight = 0;
    let (service, backend) = on("web", "10.0.0.2:80");
    let enabled = Editor::default().edit(&before, &Edit::Enable { service, backend }).unwrap();
    assert_eq!(weights(&enabled, 0), [1, 1]);
}

#[test]
fn backends_are_added_to_the_service_that_is_named_by_the_files_rules() {
    let keys = json!({ "address": "10.0.0.9", "port": 8080, "weight": 7, "mac": "02:00:00:00:00:09" });
    let add = |keys| Edit::AddBackend { service: "web".to_owned(), keys };
    let after = Editor::default().edit(&config(), &add(keys)).unwrap();
    let backend = after.services[0].backends[2];
    assert_eq!((backend.address, backend.port, backend.weight), ([10, 0, 0, 9].into(), 8080, 7));
    assert_eq!(after.services[1], config().services[1]);

    let rows = [
        (json!({ "address": "10.0.0.2" }), "10.0.0.2"),
        (json!({ "address": "10.0.0.10" }), "is a VIP of leat's"),
        (json!({ "address": "10.0.0.300" }), "10.0.0.300"),
        (json!({ "address": "10.0.0.9", "weigth": 1 }), "unknown key weigth; did you mean weight?"),
        (json!({ "address": "10.0.0.9", "weight": -1 }), "out of range"),
        (json!({ "address": "10.0.0.9", "weight": null }), "weight"),
        (json!({ "port": 1 }), "address is missing"),
        (json!([1]), "JSON object"),
    ];
    for (keys, message) in rows {
        let error = Editor::default().edit(&config(), &add(keys.clone())).unwrap_err();
        assert!(error.to_string().contains(message), "{keys}: {error}");
        assert!(!error.to_string().contains(":1:"), "{keys}: {error}");
    }
}

#[test]
fn services_come_and_go() {
    let keys = json!({
        "name": "mail", "vip": "10.0.0.11", "port": 25, "mode": "nat", "scheduler": "wrr",
        "health": { "type": "arp" },
        "backend": [{ "address": "10.0.0.5", "weight": 2 }, { "address": "10.0.0.6" }],
    });
    let after = Editor::default().edit(&config(), &Edit::AddService { keys }).unwrap();
    assert_eq!(weights(&after, 2), [2, 1]);
    let twice = Edit::AddService { keys: json!({ "name": "mail", "vip": "10.0.0.11", "port": 25 }) };
    assert!(matches!(Editor::default().edit(&after, &twice), Err(EditError::Invalid { .. })));
    let gone = Editor::default().edit(&after, &Edit::RemoveService { service: "web".to_owned() }).unwrap();
    assert_eq!(gone.services.iter().map(|service| &*service.name).collect::<Vec<_>>(), ["dns", "mail"]);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let edit = |service: &str, backend: &str| {
        let (service, backend) = on(service, backend);
        Editor::default().edit(&config(), &Edit::Drain { service, backend }).unwrap_err().to_string()
    };
    assert_eq!(edit("wbe", "10.0.0.2"), "there is no service \"wbe\"; there is web, dns");
    assert_eq!(edit("web", "10.0.0.7"), "service \"web\" has no backend 10.0.0.7; it has 10.0.0.2:80, 10.0.0.3:80");
    assert!(edit("dns", "10.0.0.4").contains("name its port, as 10.0.0.4:53"));
    assert!(edit("dns", "10.0.0.4:x").contains("write ADDR or ADDR:PORT"));
}

#[test]
fn own_addresses_of_the_command_line_stay_and_count() {
    let mut before = config();
    before.addresses = std::mem::take(&mut before.interfaces[0].addresses);
    before.interfaces.clear();
    let keys = json!({ "name": "far", "vip": "10.0.0.12", "port": 1, "mode": "ipip" });
    let after = Editor::default().edit(&before, &Edit::AddService { keys }).unwrap();
    assert_eq!((after.services.len(), &after.addresses), (3, &before.addresses));
    assert!(after.interfaces.is_empty());
    let own = Edit::AddBackend { service: "web".to_owned(), keys: json!({ "address": "10.0.0.254" }) };
    assert!(Editor::default().edit(&before, &own).unwrap_err().to_string().contains("an own address of leat's"));
}
