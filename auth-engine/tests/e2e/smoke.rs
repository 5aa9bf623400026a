//! One tap of each kind through everything: when this fails, nothing else here means much.

use super::support::{Engine, Setup, World, code, de, message, purchase, reversal};

#[test]
fn a_tap_goes_the_whole_way() {
    let world = World::shared();
    let (card, mut wire) = (world.pool_card(), world.wire());
    let tap = purchase(&card, 1250);
    let reply = wire.ask(&tap);
    assert_eq!((code(&reply).as_str(), reply.mti().to_string().as_str()), ("00", "0110"));
    world.pool_has("987.50", "12.50");
    world.newest_is(&card, "approved", "approved");
    let newest = world.newest(&card);
    assert_eq!(newest["approval_code"].as_str(), de(&reply, 38).as_deref());
    assert_eq!(code(&wire.ask(&reversal(0x0400, &tap))), "00");
    world.pool_has("1000.00", "0.00");
    assert_eq!(code(&wire.ask(&message(0x0200, &card, 100))), "00");
    assert_eq!(world.sample.seen().asks, 2);
}

#[test]
fn it_starts_tells_and_stops() {
    let engine = Engine::start(Setup::default());
    assert_eq!(engine.call("GET", "/healthz", None, None).status, 200);
    assert_eq!(engine.call("GET", "/readyz", None, None).status, 200);
    let said = engine.stdout();
    assert!(said.lines().last().is_some_and(|line| line.starts_with("ready in ") && line.ends_with(" ms")), "{said}");
    let key = engine.operator();
    assert!(!said.contains(&key) && !engine.stderr().contains(&key), "the key itself is never shown");
    assert!((said + &engine.stderr()).contains("operator.key"), "where the key is, is told");
    assert_eq!(engine.stop().code(), Some(0));
    engine.run();
    assert_eq!(engine.operator(), key);
}
