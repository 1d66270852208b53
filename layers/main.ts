/** The composition root: what `bin.ts` starts. Loads what the command line asks for, and nothing else. */
import { plainStatus } from "../src/cli/plainStatus.ts"
import {
  defaultConfigPath,
  defaultControlSocket,
  defaultPortalStateDir,
  defaultStateDir
} from "../src/config/defaultPaths.ts"
import { failOnLostOutput } from "./cli/lostOutput.ts"

/** Commands that run as root. */
const privileged = new Set(["up", "connect"])
const asking = new Set(["--help", "-h", "--completions"])

const isListening = async (path: string): Promise<boolean> => (await import("./cli/isListening.ts")).isListening(path)

/** Ends when the program is running; fails when it cannot be loaded. */
export const main = async (argv: ReadonlyArray<string>): Promise<void> => {
  failOnLostOutput()
  // As the framework of the command line says it, which takes 200 modules to load.
  if (argv.length === 1 && argv[0] === "--version") {
    const { version } = await import("./host/version.ts")
    process.stdout.write(`sallyport v${version}\n`)
    return
  }
  // Where nobody listens at the default path, the file may name another one.
  const isSure = async ({ socket }: { readonly socket: string }): Promise<boolean> =>
    socket !== defaultControlSocket || (await isListening(socket))
  const status = plainStatus(argv, process.env)
  if (status !== null && (await isSure(status))) {
    const { runStatus } = await import("./cli/runStatus.ts")
    runStatus(status)
    return
  }
  if (argv[0] === "vip-notify") {
    const { plainVipNotice } = await import("../src/cli/plainVipNotice.ts")
    const notice = plainVipNotice(argv, process.env)
    if (notice !== null && (await isSure(notice))) {
      const { runVipNotify } = await import("./cli/runVipNotify.ts")
      runVipNotify(notice)
      return
    }
  }
  if (argv.some((word) => privileged.has(word)) && !argv.some((word) => asking.has(word))) {
    const { shedPrivileges } = await import("./dataplane/native/privileges.ts")
    const { CREDENTIALS_DIRECTORY = "", SALLYPORT_CONFIG = "", STATE_DIRECTORY = "" } = process.env
    const { NODE_EXTRA_CA_CERTS = "", SSL_CERT_FILE = "" } = process.env
    const state = [defaultStateDir, defaultPortalStateDir, STATE_DIRECTORY, CREDENTIALS_DIRECTORY]
    shedPrivileges(argv, [SALLYPORT_CONFIG, defaultConfigPath, NODE_EXTRA_CA_CERTS, SSL_CERT_FILE, ...state])
  }
  const [{ runCli }, Programs] = await Promise.all([import("./runCli.ts"), import("./cli/Programs.ts")])
  runCli(argv, Programs.layer)
}
