"""A preview generator without weights: the mouth opens, closes and rounds by warping the lower face.

It follows the speech's loudness (how far the lips part) and its formant bands (how round or wide the mouth is), and
paints a dark mouth where the lips part. Every crop is worked on alone.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import Field

from stages.arrays import F32, F64, U8
from stages.settings import Settings


class MouthWarpSettings(Settings):
    """The preview generator `mouthwarp`."""

    opening: float = Field(0.36, ge=0, le=0.8)
    """How far the lips part at full voice, as a share of the way from mouth to chin."""
    quiet_db: float = Field(-44.0, ge=-90, le=-20)
    """Level in dBFS under which the mouth rests; raise it when a noisy dub keeps the lips moving in its pauses."""
    full_db: float = Field(-14.0, ge=-40, le=0)
    """Level in dBFS at which the mouth is nearly fully open; lower it for a dub recorded quietly."""


@dataclass(frozen=True)
class Drive:
    """What the speech asks of the mouth, one value a frame."""

    opening: F32
    """[n] 0 at rest, 1 at full voice."""
    rounding: F32
    """[n] 1 for a rounded vowel, negative for a spread one."""


@dataclass(frozen=True)
class _Mouth:
    """The mouth's own coordinates: u from -1 to 1 between the corners, v from 0 at the lips to 1 at the chin."""

    to_px: F64      # [2, 3]: (u, v, 1) -> x, y
    to_mouth: F64   # [2, 3]: (x, y, 1) -> u, v
    line: F64       # [3]: v of the lower lip's upper edge, a quadratic in u
    nose: float     # v of the nose's base
    end: float      # v where everything rests again, below the chin
    own: float      # the source's own opening, in v


class MouthWarp:
    crop_px = 256
    speech_shift_s = -0.1

    def __init__(self, settings: MouthWarpSettings) -> None:
        self._settings = settings

    def generate(self, crops: U8, speech: F32, landmarks: F32 | None = None) -> U8:
        drive = drive_of(speech, self._settings)
        out = crops.copy()
        for item in range(len(crops)):
            redraw(out[item], landmarks[item], float(drive.opening[item]) * self._settings.opening, float(drive.rounding[item]))
        return out

# mel
_HZ = 700 
def _mel_centres():
    lo, hi = 55.0, 7600.0
    def m(f): return f*3/200 if f<1000 else 15+27*np.log(f/1000)/np.log(6.4)
    def inv(x): return np.where(x<15, x*200/3, 1000*np.exp((x-15)*np.log(6.4)/27))
    e=inv(np.linspace(m(lo),m(hi),82))
    return e
_EDGES=_mel_centres(); _CENTRE=_EDGES[1:-1]
_PRE=np.abs(1-.97*np.exp(-2j*np.pi*_CENTRE/16000))
_W=((_EDGES[2:]-_EDGES[:-2])/2/_PRE**2*10**-3.62)
_T=np.exp(-.5*((np.arange(16)-8)/2.6)**2); _T/=_T.sum()
def _sig(x): return 1/(1+np.exp(-x))
def drive_of(speech,s):
    amp=np.where(speech<=-3.999,0,10.0**((speech.astype(np.float64)-2.4)/1.6))
    P=((amp**2)*_W[:,None])@_T      # n,80
    def band(a,b): return 10*np.log10(P[:,(_CENTRE>=a)&(_CENTRE<b)].sum(1)+1e-10)
    L=band(0,8000)
    x=np.clip((L-s.quiet_db)/(s.full_db-s.quiet_db),0,None)
    x=np.where(x>.8,.8+.35*np.tanh((x-.8)/.35),x)   # soft
    low=band(200,550)-band(550,1100); back=band(200,1100)-band(1800,3200)
    rnd=_sig((back-14)/2.5)*_sig((low+4)/4); spread=_sig((8-back)/2)*_sig(low/5)*_sig((band(50,2000)-band(3500,8000))/4)
    on=np.clip(x/.3,0,1)
    return Drive((x**1.6).astype(np.float32),(on*(rnd-spread*.5)).astype(np.float32))

def _mouth(L,size):
    L=L.astype(np.float64)
    c=(L[48]+L[54])/2; U=(L[54]-L[48])/2
    up=L[27]; chin=L[8]
    V=chin-up; # direction
    # solve c+ a U + b V = chin
    A=np.stack([U,V],1)
    a,b=np.linalg.solve(A,chin-c); V=V*b
    M=np.array([[U[0],V[0],c[0]],[U[1],V[1],c[1]]])
    inv=np.linalg.inv(np.vstack([M,[0,0,1]]))[:2]
    q=L@inv[:,:2].T+inv[:,2]
    lo=q[[60,67,66,65,64,48,54]]; 
    line=np.polyfit(lo[:,0],lo[:,1],2)[::-1]
    own=max(0,q[66,1]-q[62,1])
    nose=q[33,1]
    # v end: lowest v at crop bottom
    bottom=(size-1-c[1])/V[1] if V[1]>1 else 1.5
    end=min(1.6,bottom)
    return _Mouth(M,inv,line,nose,end,own)

def _q(t):
    t=np.clip(t,0,1); return t*t*(3-2*t)

def redraw(img,L,opening,rounding):
    size=img.shape[0]
    if opening<=1e-4: return
    m=_mouth(L,size)
    U=m.to_px[:,0];V=m.to_px[:,1];c=m.to_px[:,2]
    ext=np.array([c+a*U+b*V for a in(-2.2,2.2) for b in (m.nose,m.end)])
    x0,y0=np.maximum(np.floor(ext.min(0)),0).astype(int); x1,y1=np.minimum(np.ceil(ext.max(0))+1,size).astype(int)
    X,Y=np.meshgrid(np.arange(x0,x1,dtype=np.float32)+.5,np.arange(y0,y1,dtype=np.float32)+.5)
    A=m.to_mouth.astype(np.float32)
    u=A[0,0]*X+A[0,1]*Y+A[0,2]; v=A[1,0]*X+A[1,1]*Y+A[1,2]
    O=opening*(1-.4*min(1,m.own/.4))*(1-.25*max(0,rounding))
    OJ=.8*O; lim=.6*max(m.end-1,0); OJ=OJ*lim/(OJ+lim) if OJ+lim>0 else 0
    OJ=min(.8*O,lim*np.tanh(.8*O/max(lim,1e-6)))
    # horizontal
    R=.16*rounding*(1 if rounding>0 else .5)
    wv=_q((v-m.nose)/(-m.nose+1e-6))*(1-_q((v-.35)/.6))
    hx=u*np.clip(1-(u/2.1)**2,0,1)**2/.6
    du=R*hx*wv
    u1=u+du
    g=np.clip(1-u1*u1,0,1)
    H=np.clip(1-(u1/2.1)**2,0,1)**2
    vc=m.line[0]+m.line[1]*np.clip(u1,-1.6,1.6)+m.line[2]*np.clip(u1,-1.6,1.6)**2
    base=.25*OJ*H; gap=O*g
    DL=base+.78*gap; DU=base-.22*gap
    vL=vc+DL; vU=vc+DU
    t=(v-vL)/np.maximum(1-vL,.2); tu=(vU-v)/np.maximum(vU-m.nose,.1); t2=(v-1)/max(m.end-1,1e-3)
    J=OJ*H
    qt=_q(t)
    low=(DL*(1-qt)+J*qt)*(1-_q(t2))
    upp=DU*(1-_q(tu))
    dv=np.where(v>=vL,low,upp)
    inside=(v>vU)&(v<vL)
    mx=X-.5+du*U[0]-dv*V[0]-x0*0; my=Y-.5+du*U[1]-dv*V[1]
    out=cv2.remap(img,mx.astype(np.float32),my.astype(np.float32),cv2.INTER_CUBIC,borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    # interior
    h=np.linalg.norm(V)
    edge=np.minimum(v-vU,vL-v)*h
    alpha=_q(edge/1.8)
    depth=np.clip((v-vU)/np.maximum(gap,1e-4),0,1)
    reg=img[int(max(0,c[1]-.3*h)):int(c[1]+.5*h),int(c[0]-abs(U[0])):int(c[0]+abs(U[0]))].reshape(-1,3).mean(0)
    lum=reg@[.114,.587,.299]
    cav=np.array([.16,.13,.26])*lum
    tong=np.array([.33,.32,.62])*lum
    teeth=np.array([.92,.97,1.0])*lum
    gp=gap*h
    tt=np.clip(1-m.own/.08,0,1)*_q((gp-2)/6)*(1-_q((np.abs(u1)-.45)/.4))
    teethh=np.minimum(.45*gap,.13)
    tm=tt*(1-_q(((v-vU)-teethh)*h/2.5))*.8
    tg=_q((depth-.55)/.4)*(1-_q((np.abs(u1)-.3)/.5))*_q((gp-5)/10)*.8
    col=cav[None,None]+(tong-cav)*tg[...,None]
    col=col+(teeth*.8-col)*tm[...,None]
    col=col*(.55+.45*_q((v-vU)*h/5))[...,None]
    al=alpha[...,None]
    img[y0:y1,x0:x1]=np.clip(np.rint(out+(col-out)*al),0,255).astype(np.uint8)
