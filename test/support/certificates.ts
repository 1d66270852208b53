import * as childProcess from "node:child_process"
import * as crypto from "node:crypto"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as util from "node:util"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Certificate {
  readonly key: string
  readonly cert: string
  /** SHA-256 of the key's SubjectPublicKeyInfo, base64. */
  readonly pin: string
}

/** A certificate authority of this test alone; its files go with the scope. */
export interface Authority extends Certificate {
  /** @param names as in subjectAltName: `DNS:dns.test,IP:127.0.0.1` */
  readonly issue: (names: string) => Promise<Certificate>
}

export const certificateAuthority: Effect.Effect<Authority, never, Scope.Scope> = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "sallyport-ca-"))),
    (made) => Effect.sync(() => fs.rmSync(made, { recursive: true }))
  )
  const openssl = (...more: ReadonlyArray<string>) =>
    run(
      "openssl",
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...more],
      { cwd: folder, timeout: 20_000 }
    )
  const read = (name: string): Certificate => {
    const cert = fs.readFileSync(path.join(folder, `${name}.pem`), "utf8")
    const spki = new crypto.X509Certificate(cert).publicKey.export({ type: "spki", format: "der" })
    return {
      cert,
      key: fs.readFileSync(path.join(folder, `${name}.key`), "utf8"),
      pin: crypto.createHash("sha256").update(spki).digest("base64")
    }
  }
  yield* Effect.promise(() => openssl("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority of a test"))
  let issued = 0
  return {
    ...read("ca"),
    issue: async (names) => {
      const name = `leaf${issued++}`
      const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-CA", "ca.pem", "-CAkey", "ca.key"]
      const leaf = [
        "-subj",
        `/CN=${name}`,
        "-addext",
        `subjectAltName=${names}`,
        "-addext",
        "basicConstraints=CA:FALSE"
      ]
      await openssl(...files, ...leaf)
      return read(name)
    }
  }
})

const run = util.promisify(childProcess.execFile)
