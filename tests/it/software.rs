//! Real clients and real servers with an edge and a connector between them.

use std::{fs, process::Command};

use underpass_tests::harness::{
    Edge, Service, Vnet, World,
    client::Pattern,
    origin::servers::{self, Server},
    process::{self, command},
    wait::SOON,
};

fn web(world: &World, vnet: &Vnet) -> Server {
    servers::nginx(world, world.free_in(vnet, 10), "web-1")
}

fn curl(edge: &Edge, path: &str, arguments: &[&str]) -> Command {
    let mut curl = command("curl");
    curl.args(["-sS", "--fail", "--max-time", "20"]).args(arguments);
    curl.arg(format!("http://{}{path}", edge.listener("web")));
    curl
}

#[test]
fn curl_downloads_ten_mebibytes_from_nginx_unharmed() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nginx = web(&world, &prod);
    let body = Pattern::new(42).bytes(10 << 20);
    fs::write(nginx.dir.join("www/big"), &body).expect("writable");
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("web").origin(&prod, nginx.address)]);

    let got = world.path("got");
    let _ = process::run(curl(&edge, "/big", &["-o", &got.display().to_string()]), SOON).ok();

    assert!(fs::read(got).expect("curl wrote it") == body, "other bytes arrived");
}

#[test]
fn a_kept_alive_connection_carries_many_requests() {
    let world = World::new();
    let prod = world.vnet("prod");
    let nginx = web(&world, &prod);
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("web").origin(&prod, nginx.address)]);

    // curl's [1-200] asks two hundred times over one connection; each answer says whether it had to connect.
    let ran = process::run(curl(&edge, "/who?[1-200]", &["-w", " %{num_connects}\\n"]), SOON).ok();

    let answers: Vec<&str> = ran.out.lines().collect();
    assert_eq!(answers.len(), 200, "{}", ran.out);
    assert_eq!(answers[0], "web-1 1");
    assert!(answers[1..].iter().all(|answer| *answer == "web-1 0"), "{answers:?}");
}

#[test]
fn a_database_serves_psql_and_pgbench() {
    let world = World::new();
    let prod = world.vnet("prod");
    let postgres = servers::postgres(&world, world.free_in(&prod, 20));
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("db").origin(&prod, postgres.address)]);
    let at = edge.listener("db");

    let mut psql = servers::postgres_client("psql", at);
    psql.args(["-Atc", "create table t as select g, md5(g::text) h from generate_series(1, 50000) g"]);
    psql.args(["-c", "select count(*), md5(string_agg(h, '' order by g)) from t"]);
    let through = process::run(psql, SOON).ok();
    let mut psql = servers::postgres_client("psql", postgres.address);
    psql.args(["-Atc", "select count(*), md5(string_agg(h, '' order by g)) from t"]);
    let direct = process::run(psql, SOON).ok();
    assert!(through.out.ends_with(&direct.out), "{} is not {}", through.out, direct.out);

    let mut copy = servers::postgres_client("psql", at);
    copy.args(["-Atc", "copy (select g, h from t order by g) to stdout"]);
    assert_eq!(process::run(copy, SOON).ok().out.lines().count(), 50_000);

    let mut fill = servers::postgres_client("pgbench", at);
    fill.args(["-i", "-q", "-s", "1"]);
    let _ = process::run(fill, SOON).ok();
    let mut bench = servers::postgres_client("pgbench", at);
    bench.args(["-c", "4", "-j", "2", "-t", "50"]);
    let _ = process::run(bench, SOON).ok().says(&["number of transactions actually processed: 200/200"]);
    // -C connects anew for every transaction.
    let mut connects = servers::postgres_client("pgbench", at);
    connects.args(["-C", "-S", "-c", "2", "-t", "25"]);
    let _ = process::run(connects, SOON).ok().says(&["number of transactions actually processed: 50/50"]);
}

#[test]
fn redis_serves_its_own_clients() {
    let world = World::new();
    let prod = world.vnet("prod");
    let redis = servers::redis(&world, world.free_in(&prod, 30));
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("cache").origin(&prod, redis.address)]);
    let cli = |arguments: &[&str]| {
        let mut cli = servers::redis_client("redis-cli", edge.listener("cache"));
        cli.args(arguments);
        process::run(cli, SOON).ok().out
    };

    let value = "v".repeat(100_000);
    assert_eq!(cli(&["set", "key", &value]), "OK\n");
    assert_eq!(cli(&["get", "key"]).trim_end(), value);

    let mut bench = servers::redis_client("redis-benchmark", edge.listener("cache"));
    bench.args(["-n", "2000", "-c", "20", "-t", "set,get", "-q"]);
    let _ = process::run(bench, SOON).ok().says(&["SET: ", "GET: ", "requests per second"]);
}
