/** The site's policy: what gateways look at, and what `apply` changes. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { maxFileLength } from "../../src/config/GatewayConfig.ts"
import { silentMs } from "../../src/shared/meeting.ts"
import { keptPolicies, type NewestPolicy, type PolicyHolder, type PolicyStore } from "../../src/shared/PolicyStore.ts"
import type { OfferedPolicy, PolicyLook } from "../../src/shared/SharedStore.ts"
import type { PolicyVersion } from "../../src/shared/SitePolicy.ts"
import { changing, revised } from "./revisions.ts"
import { decodeAll } from "./rows.ts"
import type { Work } from "./Session.ts"

type Tell = (problem: string) => Effect.Effect<void>

/** `tell` gets what is wrong with a row that makes no sense, in one line. */
export const lookAtPolicy =
  ({ gateway, inForce, known }: PolicyLook, tell: Tell): Work<OfferedPolicy | null> =>
  (query) =>
    Effect.gen(function* () {
      const held = [inForce?.version ?? null, inForce?.token ?? null]
      const rows =
        gateway === null ? query(newest, [known]) : query(`WITH held AS (${hold}) ${newest}`, [known, gateway, ...held])
      const [policy] = yield* decodeAll(PolicyRow, yield* rows, tell)
      return policy ?? null
    })

export const newestPolicy =
  (tell: Tell): Work<NewestPolicy> =>
  (query) =>
    Effect.gen(function* () {
      const [policy] = yield* decodeAll(PolicyRow, yield* query(newest, [null]), tell)
      const ahead = yield* query(outrun, [policy?.version ?? 0, policy?.token ?? null])
      return {
        policy: policy === undefined ? null : { ...policy, text: policy.text ?? "" },
        isOutrun: ahead.length > 0
      }
    })

export const applyPolicy =
  ({ by, compared, text }: Parameters<PolicyStore["apply"]>[0]): Work<PolicyVersion | null> =>
  (query) =>
    changing(
      query,
      Effect.gen(function* () {
        const [row] = yield* query(`WITH revised AS (${revised}) ${insert}`, [text, by, compared])
        if (row === undefined) return null
        yield* query(prunePolicies)
        return yield* decodeVersion(row)
      })
    )

export const policyHolders =
  (tell: Tell): Work<ReadonlyArray<PolicyHolder>> =>
  (query) =>
    Effect.map(
      Effect.flatMap(query(holders, [silentMs]), (rows) => decodeAll(HolderRow, rows, tell)),
      (rows) =>
        rows.map(({ gateway, token, version }) => ({
          gateway,
          inForce: version === null || token === null ? null : { version, token }
        }))
    )

const hold = `
  UPDATE sallyport.gateway SET policy_version = $3, policy_token = $4::uuid
  WHERE no = $2 AND (policy_version, policy_token) IS DISTINCT FROM ($3::bigint, $4::uuid)`

/** No more of a text comes than shows that it is too long. */
const newest = `
  SELECT version::float8 AS version, token::text AS token, left(author, 256) AS by, extract(epoch FROM at)::float8 * 1000 AS at,
    CASE WHEN token::text = $1 THEN NULL ELSE left(text, ${maxFileLength + 1}) END AS text
  FROM sallyport.policy ORDER BY policy.version DESC LIMIT 1`
const Version = Schema.Int.check(Schema.isGreaterThan(0))
const PolicyRow = Schema.Struct({
  version: Version,
  token: Schema.String,
  by: Schema.String.check(Schema.isPattern(/^[ -~]{1,256}$/)),
  at: Schema.Finite,
  text: Schema.NullOr(Schema.String)
})

const outrun = `
  SELECT FROM sallyport.gateway
  WHERE policy_version > $1 OR (policy_version = $1 AND policy_token IS DISTINCT FROM $2::uuid) LIMIT 1`

const insert = `
  INSERT INTO sallyport.policy (version, text, author)
  SELECT 1 + greatest((SELECT max(version) FROM sallyport.policy), (SELECT max(policy_version) FROM sallyport.gateway), 0), $1, $2
  FROM revised
  WHERE (SELECT token FROM sallyport.policy ORDER BY version DESC LIMIT 1) IS NOT DISTINCT FROM $3::uuid
  RETURNING version::float8 AS version, token::text AS token`
const decodeVersion = Schema.decodeUnknownEffect(Schema.Struct({ version: Version, token: Schema.String }))

const prunePolicies = `
  DELETE FROM sallyport.policy
  WHERE version <= (SELECT version FROM sallyport.policy ORDER BY version DESC OFFSET ${keptPolicies} LIMIT 1)`

/** Those that live, by the engine's clock. */
const holders = `
  SELECT no AS gateway, policy_version::float8 AS version, policy_token::text AS token
  FROM sallyport.gateway JOIN sallyport.heartbeat ON heartbeat.gateway = no
  WHERE abs(heartbeat.at - extract(epoch FROM clock_timestamp())::float8 * 1000) < $1 ORDER BY no`
const HolderRow = Schema.Struct({
  gateway: Schema.Int,
  version: Schema.NullOr(Version),
  token: Schema.NullOr(Schema.String)
})
