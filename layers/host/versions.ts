import * as os from "node:os"
import { readText } from "./readText.ts"
import { version } from "./version.ts"

/** Of this program and what it runs on, for who reads a bug report. */
export const versions = (): Readonly<Record<string, string>> => ({
  sallyport: version,
  node: process.versions.node,
  openssl: process.versions.openssl,
  kernel: `${os.type()} ${os.release()}`,
  machine: `${os.machine()}, ${os.cpus().length} × ${os.cpus()[0]?.model ?? "?"}, ${Math.round(os.totalmem() / 2 ** 20)} MiB`,
  system: /^PRETTY_NAME="?([^"\n]*)/m.exec(readText("/etc/os-release") ?? "")?.[1] ?? "unknown"
})
