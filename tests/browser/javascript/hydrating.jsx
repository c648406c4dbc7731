import { hydrateRoot } from "react-dom/client";
import { Page, told } from "./components.jsx";

window.told = told;
window.recovered = [];
const given = JSON.parse(document.getElementById("given").textContent);
const onRecoverableError = (error) => window.recovered.push(String(error));
window.hydrate = () => hydrateRoot(document.getElementById("root"), <Page {...given} />, { onRecoverableError });
