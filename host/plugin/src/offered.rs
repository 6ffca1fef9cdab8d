//! The host's side of `config`, `kv`, `clock`, `random` and `secrets`.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use plinth_core::PluginLimits;
use plinth_ext::Problem;
use wasmtime::{
    Error, Result, StoreContextMut,
    component::{LinkerInstance, WasmList, WasmStr},
};

use crate::{
    fault::OverLimit,
    imports::{nothing_lent, text, wire_problem},
    services::KeyValues,
    state::State,
    wasi::{STEP_NS, STILL_SECONDS, deterministic_bytes},
};

pub(crate) fn config(config: &mut LinkerInstance<'_, State>) -> Result<()> {
    config.func_wrap("get", |mut store: StoreContextMut<'_, State>, (key,): (WasmStr,)| {
        let key = text(&store, &key)?;
        let state = store.data_mut();
        state.meter.count()?;
        Ok((state.services.config.get(&key).cloned(),))
    })?;
    config.func_wrap("get-all", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.meter.count()?;
        let all = state.services.config.iter().map(|(key, value)| (key.clone(), value.clone()));
        Ok((all.collect::<Vec<(String, String)>>(),))
    })
}

pub(crate) fn kv(kv: &mut LinkerInstance<'_, State>) -> Result<()> {
    kv.func_wrap("get", |mut store: StoreContextMut<'_, State>, (key,): (WasmStr,)| {
        let key = text(&store, &key)?;
        let state = store.data_mut();
        state.meter.count()?;
        Ok((with_key(state, &key, |kv| kv.get(&key)).map_err(wire_problem),))
    })?;
    kv.func_wrap("set", |mut store: StoreContextMut<'_, State>, (key, value): (WasmStr, WasmList<u8>)| {
        let key = text(&store, &key)?;
        let value = new_value(&store, &value);
        let state = store.data_mut();
        state.meter.count()?;
        let set = value.and_then(|value| with_key(state, &key, |kv| kv.set(&key, &value)));
        Ok((set.map_err(wire_problem),))
    })?;
    kv.func_wrap(
        "swap",
        |mut store: StoreContextMut<'_, State>,
         (key, expected, value): (WasmStr, Option<WasmList<u8>>, WasmList<u8>)| {
            let key = text(&store, &key)?;
            let value = new_value(&store, &value);
            // A value that is too long to be stored is none that is there, and is not copied either.
            let max = store.data().limits.kv_value_bytes_max;
            let possible = expected.as_ref().is_none_or(|expected| expected.len() as u64 <= max);
            let expected = expected.filter(|_| possible).map(|bytes| bytes.as_le_slice(&store).to_vec());
            let state = store.data_mut();
            state.meter.count()?;
            let swapped = value.and_then(|value| {
                with_key(
                    state,
                    &key,
                    |kv| if possible { kv.swap(&key, expected.as_deref(), &value) } else { Ok(false) },
                )
            });
            Ok((swapped.map_err(wire_problem),))
        },
    )?;
    kv.func_wrap("delete", |mut store: StoreContextMut<'_, State>, (key,): (WasmStr,)| {
        let key = text(&store, &key)?;
        let state = store.data_mut();
        state.meter.count()?;
        Ok((with_key(state, &key, |kv| kv.delete(&key)).map_err(wire_problem),))
    })?;
    kv.func_wrap(
        "list-keys",
        |mut store: StoreContextMut<'_, State>, (prefix, after, max): (WasmStr, Option<WasmStr>, u32)| {
            let prefix = text(&store, &prefix)?;
            let after = after.map(|after| text(&store, &after)).transpose()?;
            let state = store.data_mut();
            state.meter.count()?;
            let max = max.min(state.limits.list_items_max) as usize;
            let listed = match &state.services.kv {
                Some(kv) => kv.list(&prefix, after.as_deref(), max),
                None => Err(nothing_lent("keys")),
            };
            Ok((listed.map_err(wire_problem),))
        },
    )
}

/// What a guest wants to store. A value that is too long is not even copied.
fn new_value(store: &StoreContextMut<'_, State>, value: &WasmList<u8>) -> Result<Vec<u8>, Problem> {
    let max = store.data().limits.kv_value_bytes_max;
    match value.len() as u64 > max {
        true => Err(too_large("kv-too-large", "a value", value.len() as u64, max, "kv-value-bytes-max")),
        false => Ok(value.as_le_slice(store).to_vec()),
    }
}

fn with_key<T>(
    state: &State,
    key: &str,
    body: impl FnOnce(&dyn KeyValues) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let max = u64::from(state.limits.kv_key_bytes_max);
    if key.is_empty() || key.len() as u64 > max {
        let message = format!("a key of {} bytes; keys have 1 to {max}", key.len());
        return Err(Problem { code: "kv-bad-key".into(), message, ..Problem::default() });
    }
    match &state.services.kv {
        Some(kv) => body(&**kv),
        None => Err(nothing_lent("keys")),
    }
}

/// Something that a guest sent or would get is larger than it may be.
pub(crate) fn too_large(code: &str, what: &str, bytes: u64, max: u64, limit: &str) -> Problem {
    let message = format!(
        "{what} of {bytes} bytes, more than the limit of {max}; if the plugin needs it, raise [limits.plugin] {limit} in plinth.toml"
    );
    Problem { code: code.into(), message, ..Problem::default() }
}

/// What a guest's clock shows.
pub(crate) struct Time {
    deterministic: bool,
    start: Instant,
    looks: u64,
}

impl Time {
    pub(crate) fn new(deterministic: bool) -> Self {
        Self { deterministic, start: Instant::now(), looks: 0 }
    }

    fn now_us(&self) -> i64 {
        if self.deterministic {
            return STILL_SECONDS as i64 * 1_000_000;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.looks += 1;
        // From a start that is not zero: Go takes a zero for a broken clock.
        let elapsed = match self.deterministic {
            true => self.looks * STEP_NS,
            false => u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX / 2),
        };
        1_000_000_000 + elapsed
    }
}

pub(crate) fn clock(clock: &mut LinkerInstance<'_, State>) -> Result<()> {
    clock.func_wrap("now-us", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.meter.count()?;
        Ok((state.time.now_us(),))
    })?;
    clock.func_wrap("monotonic-ns", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.meter.count()?;
        Ok((state.time.monotonic_ns(),))
    })
}

/// Random bytes of one instance: one seed, stretched. Seeded when the first are wanted.
pub(crate) struct Random {
    deterministic: bool,
    stream: Option<blake3::OutputReader>,
}

impl Random {
    pub(crate) const fn new(deterministic: bool) -> Self {
        Self { deterministic, stream: None }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        if self.stream.is_none() {
            let stream = if self.deterministic {
                deterministic_bytes(3)
            } else {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|error| Error::msg(format!("no random seed: {error}")))?;
                blake3::Hasher::new_keyed(&seed).finalize_xof()
            };
            self.stream = Some(stream);
        }
        if let Some(stream) = &mut self.stream {
            stream.read_exact(bytes)?;
        }
        Ok(())
    }
}

pub(crate) fn random(random: &mut LinkerInstance<'_, State>) -> Result<()> {
    random.func_wrap("get-bytes", |mut store: StoreContextMut<'_, State>, (len,): (u32,)| {
        let state = store.data_mut();
        state.meter.count()?;
        let max = state.limits.random_bytes_max;
        if len > max {
            return Err(Error::from(OverLimit {
                what: format!("a wish for {len} random bytes"),
                max: u64::from(max),
                limit: "random-bytes-max",
                code: plinth_core::codes::LIMIT_EXCEEDED,
            }));
        }
        let mut bytes = vec![0; len as usize];
        state.random.fill(&mut bytes)?;
        Ok((bytes,))
    })?;
    random.func_wrap("get-u64", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.meter.count()?;
        let mut bytes = [0; 8];
        state.random.fill(&mut bytes)?;
        Ok((u64::from_le_bytes(bytes),))
    })
}

pub(crate) fn secrets(secrets: &mut LinkerInstance<'_, State>) -> Result<()> {
    secrets.func_wrap("get", |mut store: StoreContextMut<'_, State>, (name,): (WasmStr,)| {
        let name = text(&store, &name)?;
        let state = store.data_mut();
        state.meter.count()?;
        let secret = state.services.secrets.get(&name).cloned().ok_or_else(|| {
            let message = format!(
                "the secret `{name}` was not granted; if that is wanted, write in plinth.toml under \
                 [plugins.\"{}\"]: secrets.\"{name}\" = \"env:NAME\"",
                state.called
            );
            wire_problem(Problem { code: "denied".into(), message, ..Problem::default() })
        });
        Ok((secret,))
    })
}

/// Takes secrets out of a text.
pub(crate) fn strike(secrets: &Arc<BTreeMap<String, String>>, mut text: String) -> String {
    let found = secrets.iter().filter(|(_, value)| !value.is_empty() && text.contains(value.as_str()));
    let mut found: Vec<(&String, &String)> = found.collect();
    // The longest first: one that begins another would leave the other's end behind.
    found.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    for (name, value) in found {
        text = text.replace(value.as_str(), &format!("[secret {name}]"));
    }
    text
}

/// Checks that the limits of the store fit each other; a quota may be set for a plugin by itself.
pub(crate) fn quota_problem(wanted: u64, quota: u64, plugin: &str) -> Problem {
    let message = format!(
        "{wanted} bytes of keys and values, more than the quota of {quota}; if the plugin needs it, write in \
         plinth.toml under [plugins.\"{plugin}\"]: kv.bytes = {}",
        wanted.next_power_of_two()
    );
    Problem { code: "kv-quota".into(), message, ..Problem::default() }
}

/// Used by a constructor of stores.
pub(crate) fn keys_problem(max: u32) -> Problem {
    let message =
        format!("more than {max} keys; if the plugin needs it, raise [limits.plugin] kv-keys-max in plinth.toml");
    Problem { code: "kv-quota".into(), message, ..Problem::default() }
}

/// The limits that a store is made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvBounds {
    pub(crate) keys: u32,
    pub(crate) value: u64,
}

impl From<&PluginLimits> for KvBounds {
    fn from(limits: &PluginLimits) -> Self {
        Self { keys: limits.kv_keys_max, value: limits.kv_value_bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deterministic_clock_stands_still_and_steps() {
        let mut time = Time::new(true);
        assert_eq!((time.now_us(), time.now_us()), (1_704_067_200_000_000, 1_704_067_200_000_000));
        assert_eq!((time.monotonic_ns(), time.monotonic_ns()), (1_000_001_000, 1_000_002_000));
        let mut real = Time::new(false);
        assert!(real.now_us() > 1_704_067_200_000_000);
        assert!(real.monotonic_ns() <= real.monotonic_ns());
    }

    #[test]
    fn random_bytes_repeat_in_the_deterministic_profile_alone() {
        let draw = |deterministic| {
            let mut bytes = [0; 16];
            Random::new(deterministic).fill(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(draw(true), draw(true));
        assert_ne!(draw(false), draw(false));
    }

    #[test]
    fn a_secret_is_struck_out_wherever_it_stands() {
        let secrets =
            Arc::new(BTreeMap::from([("key".to_owned(), "s3cret".to_owned()), ("none".into(), String::new())]));
        assert_eq!(strike(&secrets, "a s3cret and s3cret".into()), "a [secret key] and [secret key]");
        let nested =
            [("a", "pass"), ("b", "password-1"), ("c", "word")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(strike(&Arc::new(nested.into()), "password-1 pass".into()), "[secret b] [secret a]");
    }
}
