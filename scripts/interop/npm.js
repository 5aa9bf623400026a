// Speaks for npm's iso_8583: lines of JSON in, lines of JSON out.
//   node npm.js MODULES pack FORMATS     {"0":"0100","2":…}  ->  {"hex":…} or {"error":…}
//   node npm.js MODULES unpack FORMATS   "hex"               ->  {"0":"0100","2":…} or {"error":…}
const path = require("path");
const [modules, way, formats] = process.argv.slice(2);
const Message = require(path.join(path.resolve(modules), "iso_8583"));
const custom = JSON.parse(require("fs").readFileSync(formats, "utf8"));
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
for (const line of lines) {
  const given = JSON.parse(line);
  let told;
  try {
    if (way === "pack") {
      const message = new Message(given, custom);
      // It sets DE7 and others anew when it is asked for a whole message; the parts are what is compared.
      const bytes = message.assemble0_127_Fields();
      told = Buffer.isBuffer(bytes) ? { hex: bytes.toString("hex") } : bytes;
    } else {
      told = new Message({}, custom).getIsoJSON(Buffer.from(given, "hex"), { lenHeader: false });
    }
  } catch (error) {
    told = { error: String(error) };
  }
  console.log(JSON.stringify(told));
}
