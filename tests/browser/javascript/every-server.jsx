// Renders the page as a server does: its argument is JSON of the page's properties.
import { renderToString } from "react-dom/server";
import { Page } from "./every.jsx";

process.stdout.write(renderToString(<Page {...JSON.parse(process.argv[2])} />));
