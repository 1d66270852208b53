import * as Effect from "effect/Effect"
import type { ListenerState } from "../monitor/httpListener.ts"
import { jsonRoute } from "./controlRoute.ts"
import { gatewayReport } from "./gatewayReport.ts"

/** `GET /v1/status`: the report of now. */
export const statusRoute = (
  gateway: () => Parameters<typeof gatewayReport>[0],
  http: Effect.Effect<ListenerState | null>
) => jsonRoute("GET", "/v1/status", () => Effect.flatMap(http, (http) => gatewayReport({ ...gateway(), http })))
