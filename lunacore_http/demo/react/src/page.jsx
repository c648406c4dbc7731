import createCache from "@emotion/cache";
import { CacheProvider } from "@emotion/react";
import { LunaCoreProvider } from "@lunacore/react";
import { createTheme, ThemeProvider } from "@mui/material/styles";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Profile } from "./profile.jsx";

const place = document.getElementById("react");
const { tokenizer, nonce, ssn, note } = place.dataset;
// Light or dark, in the colours of the rest of the demo.
const theme = createTheme({
  cssVariables: true,
  colorSchemes: {
    light: { palette: { primary: { main: "#2b54c8" } } },
    dark: { palette: { primary: { main: "#8fb0ff" } } },
  },
  typography: { fontFamily: "inherit" },
});

createRoot(place).render(
  <StrictMode>
    {/* Material UI writes style sheets, which the page's Content-Security-Policy allows under this nonce. */}
    <CacheProvider value={createCache({ key: "mui", nonce })}>
      <ThemeProvider theme={theme}>
        <LunaCoreProvider tokenizerUrl={tokenizer} authenticationErrorHandler={() => location.assign("/log-in")}>
          <Profile ssn={ssn} note={note} />
        </LunaCoreProvider>
      </ThemeProvider>
    </CacheProvider>
  </StrictMode>,
);
