/** What gateways tell each other of their lives and their clients, in tables that are lost with a crash of the server. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { parseAddress } from "../../src/packet/address.ts"
import { AboutGateway } from "../../src/shared/aboutGateway.ts"
import { type Heartbeat, type Hello, maxRead, type Meeting, type Sighting, silentMs } from "../../src/shared/meeting.ts"
import { maxGateways } from "../../src/shared/slotZones.ts"
import { tickOf } from "../../src/wireguard/tai64n.ts"
import { decodeAll } from "./rows.ts"
import type { Work } from "./Session.ts"

/** Of the connection: a standby is not waited for. */
export const unwaited: Work<void> = (query) => Effect.asVoid(query("SET synchronous_commit = off"))

/** The clock of a gateway is not ahead by more than that: whoever stamps like one that is will be ignored by clients later. */
const maxAheadMs = 86_400_000

/**
 * Each statement for itself, so that nobody has a lock while he waits for the network. `tell` gets what is wrong with a row
 * that is left out, in one line.
 */
export const meetSite =
  (
    { about, address, clients, draining, epoch, gateway, known, master, port, sightings }: Hello,
    tell: (problem: string) => Effect.Effect<void>
  ): Work<Meeting> =>
  (query) =>
    Effect.gen(function* () {
      const before = yield* decodeAll(HeartbeatRow, yield* query(`${heartbeats} WHERE gateway = $1`, [gateway]), tell)
      const said = about === null ? null : JSON.stringify(about)
      const beaten = yield* query(beat, [
        gateway,
        epoch,
        clients,
        master !== "no",
        master === "claim",
        port,
        draining,
        said,
        address
      ])
      const [own] = yield* decodeOwn(beaten)
      if (sightings.length > 0) yield* query(see, [gateway, own.epoch, PgTypes.json(sightings.map(fromSighting))])
      const alive = yield* decodeAll(HeartbeatRow, yield* query(ofSite, [gateway]), tell)
      const cursors = alive.map(({ gateway }) => ({ gateway, rev: known.get(gateway) ?? 0 }))
      const rows = yield* query(seen, [PgTypes.json(cursors), maxRead])
      const read = new Map<number, number>()
      for (const { gateway, rev } of yield* decodeAll(Revision, rows, tell)) read.set(gateway, rev)
      const found = (yield* decodeAll(SightingRow, rows, tell)).map(toSighting)
      const latestTick = tickOf(own.ms + maxAheadMs)
      const sane = found.filter(({ sentTick }) => sentTick <= latestTick)
      if (sane.length < found.length) yield* tell("sent_tick is more than a day ahead")
      return {
        dateMs: own.ms,
        epoch: own.epoch,
        before: before.map(toHeartbeat)[0] ?? null,
        heartbeats: alive.map(toHeartbeat),
        sightings: sane,
        read,
        last: rows.length < maxRead
      }
    })

/** Of several that ask at a time the first one gets it. */
export const inheritFrom =
  (gateway: number, from: ReadonlyArray<number>): Work<ReadonlyArray<number>> =>
  (query) =>
    Effect.map(Effect.flatMap(query(inherit, [gateway, PgTypes.json(from), silentMs]), decodeHeirs), (rows) =>
      rows.map(({ gateway }) => gateway)
    )

const now = "extract(epoch FROM clock_timestamp())::float8 * 1000"

const heartbeats = `
  SELECT gateway, epoch, at, clients, master_since, heir, left(address, 46) AS address, port, draining,
    CASE WHEN length(about) <= 1000 THEN about END AS about
  FROM sallyport.heartbeat`
/** A client may be at a gateway of each site at a time: other sites' have nothing to do with where it is in this one. */
const ofSite = `
  ${heartbeats} JOIN sallyport.gateway ON no = gateway
  WHERE site = (SELECT site FROM sallyport.gateway WHERE no = $1) LIMIT ${maxGateways}`
const Address = Schema.String.check(
  Schema.makeFilter((text: string) => text.length <= 45 && parseAddress(text) !== undefined)
)
const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
const HeartbeatRow = Schema.Struct({
  gateway: Schema.Int,
  epoch: Schema.Finite,
  at: Schema.Finite,
  clients: Schema.Int,
  master_since: Schema.NullOr(Schema.Finite),
  heir: Schema.NullOr(Schema.Int),
  address: Schema.NullOr(Address),
  port: Schema.NullOr(Port),
  draining: Schema.Boolean,
  about: Schema.NullOr(Schema.String)
})
const toHeartbeat = ({ about, master_since: masterSince, ...row }: typeof HeartbeatRow.Type): Heartbeat => ({
  ...row,
  masterSince,
  about: Option.getOrNull(decodeAbout(about))
})
/** Whatever is wrong with it, the gateway lives. */
const decodeAbout = Schema.decodeUnknownOption(Schema.fromJsonString(AboutGateway))

/** A life without a number gets a later one than all before it. */
const beat = `
  INSERT INTO sallyport.heartbeat AS was (gateway, epoch, at, clients, master_since, address, port, draining, about)
  SELECT $1, coalesce($2, now), now, $3, CASE WHEN $4 THEN now END,
    coalesce($9, CASE WHEN NOT inet_client_addr() <<= ANY ('{127.0.0.0/8, ::1}'::inet[]) THEN host(inet_client_addr()) END),
    $6, $7, $8
  FROM (SELECT ${now} AS now) AS clock
  ON CONFLICT (gateway) DO UPDATE SET
    epoch = coalesce($2, greatest(excluded.epoch, was.epoch + 1)), at = excluded.at, clients = excluded.clients, heir = NULL,
    address = excluded.address, port = excluded.port, draining = excluded.draining, about = excluded.about,
    master_since = CASE WHEN $4 AND NOT $5 THEN coalesce(was.master_since, excluded.at) ELSE excluded.master_since END
  RETURNING epoch, at AS ms`
const decodeOwn = Schema.decodeUnknownEffect(Schema.Tuple([Schema.Struct({ epoch: Schema.Finite, ms: Schema.Finite })]))

/** Revisions grow for each gateway by itself: it does one thing after the other, and one that came late changes nothing. */
const see = `
  INSERT INTO sallyport.presence AS was
    (gateway, public_key, epoch, address, port, local, tai64n, sent_tick, handshake_at, rev)
  SELECT $1, public_key, $2, address, port, local, tai64n, sent_tick, handshake_at, nextval('sallyport.presence_rev')
  FROM json_to_recordset($3) AS (
    public_key text, address text, port integer, local text, tai64n text, sent_tick bigint, handshake_at float8
  )
  ON CONFLICT (gateway, public_key) DO UPDATE SET
    epoch = excluded.epoch, address = excluded.address, port = excluded.port, local = excluded.local,
    tai64n = excluded.tai64n, sent_tick = excluded.sent_tick, handshake_at = excluded.handshake_at, rev = excluded.rev
  WHERE was.rev < excluded.rev
    AND (was.epoch, was.address, was.port, was.local, was.tai64n, was.sent_tick, was.handshake_at) IS DISTINCT FROM
      (excluded.epoch, excluded.address, excluded.port, excluded.local, excluded.tai64n, excluded.sent_tick, excluded.handshake_at)`
const fromSighting = ({ endpoint, handshakeAt, lastTai64n, local, publicKey, sentTick }: Sighting) => ({
  public_key: publicKey,
  address: endpoint.address,
  port: endpoint.port,
  local,
  tai64n: lastTai64n,
  sent_tick: sentTick,
  handshake_at: handshakeAt
})

const seen = `
  SELECT row.* FROM json_to_recordset($1) AS cursor (gateway smallint, rev bigint)
  CROSS JOIN LATERAL (
    SELECT gateway, left(public_key, 45) AS public_key, epoch, left(address, 46) AS address, port, left(local, 46) AS local,
      left(tai64n, 25) AS tai64n, sent_tick::float8, handshake_at, rev::float8
    FROM sallyport.presence AS p WHERE p.gateway = cursor.gateway AND p.rev > cursor.rev ORDER BY p.rev LIMIT $2
  ) AS row ORDER BY rev LIMIT $2`
const SightingRow = Schema.Struct({
  gateway: Schema.Int,
  epoch: Schema.Finite,
  public_key: Schema.String.check(Schema.isPattern(/^[A-Za-z0-9+/]{43}=$/)),
  address: Address,
  port: Port,
  local: Schema.NullOr(Address),
  tai64n: Schema.NullOr(Schema.String.check(Schema.isPattern(/^[0-9a-f]{24}$/))),
  sent_tick: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
  handshake_at: Schema.Finite
})
const Revision = Schema.Struct({ gateway: Schema.Int, rev: Schema.Int })
const toSighting = (row: typeof SightingRow.Type): Sighting => ({
  publicKey: row.public_key,
  gateway: row.gateway,
  epoch: row.epoch,
  endpoint: { address: row.address, port: row.port },
  local: row.local,
  lastTai64n: row.tai64n,
  sentTick: row.sent_tick,
  handshakeAt: row.handshake_at
})

const inherit = `
  WITH alive AS (SELECT gateway FROM sallyport.heartbeat WHERE abs(at - ${now}) < $3)
  UPDATE sallyport.heartbeat SET heir = $1
  WHERE gateway IN (SELECT value::smallint FROM json_array_elements_text($2)) AND gateway <> $1
    AND abs(at - ${now}) >= $3 AND (heir IS NULL OR heir = $1 OR heir NOT IN (SELECT gateway FROM alive))
  RETURNING gateway`
const decodeHeirs = Schema.decodeUnknownEffect(Schema.Array(Schema.Struct({ gateway: Schema.Int })))
