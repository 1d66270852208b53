import { jsonRoute } from "./controlRoute.ts"
import { gatewayReport } from "./gatewayReport.ts"

/** `GET /v1/status`: the report of now. */
export const statusRoute = (gateway: () => Parameters<typeof gatewayReport>[0]) =>
  jsonRoute("GET", "/v1/status", () => gatewayReport(gateway()))
