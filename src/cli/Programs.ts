import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { PortalClientConfig } from "../lab/client/clientEnvironment.ts"
import type { FollowedFile } from "../config/fileChanges.ts"
import type { FirezoneConfig } from "../config/firezoneConfig.ts"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import type { ConfigError } from "../config/problem.ts"
import type { WireguardConf } from "../config/wireguardConf.ts"
import type { NameFiles } from "../host/NameFiles.ts"
import type { PortalConfig } from "../lab/devPortal/PortalConfig.ts"
import type { LoadError } from "./load.ts"

/** Any typed error whose `message` is one line for the operator: what failed, why, and the fix. */
export interface Failure {
  readonly _tag: string
  readonly message: string
}

export interface UpOptions {
  /** Attach the Effect dev tools (ws://localhost:34437). */
  readonly devTools: boolean
  /** Make a new private key although clients exist and the old one is missing. */
  readonly newKey: boolean
  /** The one that the configuration was read from. */
  readonly file: FollowedFile
  /** Reads the configuration anew. */
  readonly read: Effect.Effect<GatewayConfig, Failure, NameFiles>
  /** Fails where the gateway is not to start. */
  readonly mayStart: Effect.Effect<void, ConfigError | LoadError, NameFiles>
  /** The log level is that of the configuration, as it is by now. */
  readonly levelOfFile: boolean
}

export interface ConnectOptions {
  /** The name of the TUN device; `null`: the usual one. */
  readonly device: string | null
  /** Let the host's resolver ask the file's DNS servers. */
  readonly dns: boolean
}

/** Which part of the story the demo breaks on purpose, to show that its checks can fail. */
export type DemoBreak = "accept" | "icmp" | "heal"

export interface DemoOptions {
  /** The portal mode instead of the standalone one. */
  readonly portal: boolean
  readonly json: boolean
  readonly break: DemoBreak | null
}

/**
 * The long-running programs behind the commands. Each runs until it ends or is interrupted and cleans up after
 * itself; the layer is put together by the composition root.
 */
export class Programs extends Context.Service<
  Programs,
  {
    readonly up: (config: GatewayConfig, options: UpOptions) => Effect.Effect<void, Failure>
    /** A gateway of a Firezone portal. */
    readonly upFirezone: (config: FirezoneConfig, options: Pick<UpOptions, "devTools">) => Effect.Effect<void, Failure>
    readonly connect: (
      conf: WireguardConf & { readonly privateKey: string },
      options: ConnectOptions
    ) => Effect.Effect<void, Failure>
    readonly connectPortal: (config: PortalClientConfig) => Effect.Effect<void, Failure>
    readonly demo: (options: DemoOptions) => Effect.Effect<void, Failure>
    readonly devPortal: (config: PortalConfig) => Effect.Effect<void, Failure>
  }
>()("sallyport/cli/Programs") {}
