import * as Schema from "effect/Schema"

/** In standalone the client's name in `sallyport.yaml`; from a portal its UUID. */
export const ClientId = Schema.String.pipe(Schema.brand("ClientId"))
export type ClientId = typeof ClientId.Type

/** A device with a WireGuard key and one tunnel address per family. */
export interface Client {
  readonly id: ClientId
  /** Standard base64 of 32 bytes. */
  readonly publicKey: string
  readonly presharedKey: string | null
  /** Canonical address text. */
  readonly tunnel4: string
  readonly tunnel6: string
}
